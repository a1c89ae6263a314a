package vlan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// instruction is one of BPF's (linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst).
type instruction struct {
	Code      uint8
	Registers uint8 // destination, and source in the upper half
	Offset    int16
	Immediate int32
}

// The few that are needed. Jumps skip instructions.
func move(to int, from int) instruction { return instruction{0xbf, uint8(to | from<<4), 0, 0} }
func set(to int, value int) instruction { return instruction{0xb7, uint8(to), 0, int32(value)} }
func and(to int, value int) instruction { return instruction{0x57, uint8(to), 0, int32(value)} }
func load(to int, offset int) instruction { // 32 bits of the packet's description, which register 6 points to
	return instruction{0x61, uint8(to | 6<<4), int16(offset), 0}
}
func skipIf(register, value, skip int) instruction {
	return instruction{0x15, uint8(register), int16(skip), int32(value)}
}
func skipUnless(register, value, skip int) instruction {
	return instruction{0x55, uint8(register), int16(skip), int32(value)}
}
func call(helper int) instruction { return instruction{0x85, 0, 0, int32(helper)} }

var exit = instruction{0x95, 0, 0, 0}

// Helpers, offsets in struct __sk_buff, and verdicts (linux/bpf.h, linux/pkt_cls.h).
const (
	helperVLANPush = 18
	helperVLANPop  = 19
	helperRedirect = 23

	offsetPresent  = 20
	offsetTag      = 24
	offsetProtocol = 28

	verdictNext = -1
	verdictDrop = 2

	flagIngress = 1
)

// tagProtocol is 802.1Q's ethertype as it lies in memory.
var tagProtocol = int(binary.NativeEndian.Uint16([]byte{0x81, 0x00}))

// receive takes frames of the VLAN, without their tag, as if the device had received them. Others go on.
func receive(vlan, device int) []instruction {
	return []instruction{
		move(6, 1),
		set(0, verdictNext),
		load(2, offsetPresent), skipIf(2, 0, 13),
		load(2, offsetProtocol), skipUnless(2, tagProtocol, 11),
		load(2, offsetTag), and(2, 0xfff), skipUnless(2, vlan, 8),
		move(1, 6), call(helperVLANPop), skipIf(0, 0, 2),
		set(0, verdictDrop), exit,
		set(1, device), set(2, flagIngress), call(helperRedirect),
		exit,
	}
}

// send gives every frame the tag and sends it from the device.
func send(vlan, device int) []instruction {
	return []instruction{
		move(6, 1),
		set(2, tagProtocol), set(3, vlan), call(helperVLANPush), skipIf(0, 0, 2),
		set(0, verdictDrop), exit,
		set(1, device), set(2, 0), call(helperRedirect),
		exit,
	}
}

// program gives instructions to the kernel, which checks them. The file must be closed.
func program(all []instruction) (*os.File, error) {
	var code bytes.Buffer
	if err := binary.Write(&code, binary.NativeEndian, all); err != nil {
		return nil, err
	}
	const schedCLS = 3 // BPF_PROG_TYPE_SCHED_CLS
	instructions, license := code.Bytes(), []byte("GPL\x00")
	attr := struct {
		kind, count           uint32
		instructions, license uint64
		logLevel, logSize     uint32
		log                   uint64
		version, flags        uint32
	}{kind: schedCLS, count: uint32(len(all)), instructions: uint64(uintptr(unsafe.Pointer(&instructions[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	const load = 5 // BPF_PROG_LOAD
	fd, _, errno := unix.Syscall(unix.SYS_BPF, load, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(instructions)
	runtime.KeepAlive(license)
	if errno != 0 {
		return nil, fmt.Errorf("load BPF program: %w", errno)
	}
	return os.NewFile(fd, "bpf"), nil
}
