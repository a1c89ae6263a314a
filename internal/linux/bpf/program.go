// Package bpf has the kernel run small programs on what a device receives: tc's classifiers, attached to clsact.
package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instruction is one of BPF's (linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst).
type Instruction struct {
	Code      uint8
	Registers uint8 // destination, and source in the upper half
	Offset    int16
	Immediate int32
}

// Packet is the register that points to the packet's description once a program has put it there; Word and Byte want that.
const Packet = 6

// The few that are needed. Jumps skip instructions.
func Move(to, from int) Instruction     { return Instruction{0xbf, uint8(to | from<<4), 0, 0} }
func Set(to, value int) Instruction     { return Instruction{0xb7, uint8(to), 0, int32(value)} }
func And(to, value int) Instruction     { return Instruction{0x57, uint8(to), 0, int32(value)} }
func Call(helper int) Instruction       { return Instruction{0x85, 0, 0, int32(helper)} }
func Skip(instructions int) Instruction { return Instruction{0x05, 0, int16(instructions), 0} }

// Load and Store move 32 bits of the packet's description.
func Load(to, offset int) Instruction {
	return Instruction{0x61, uint8(to | Packet<<4), int16(offset), 0}
}
func Store(offset, from int) Instruction {
	return Instruction{0x63, uint8(Packet | from<<4), int16(offset), 0}
}

// Word and Byte read from the frame into register 0; registers 1 to 5 are lost. Where a frame is too short the program ends and the
// frame goes on.
func Word(offset int) Instruction { return Instruction{0x20, 0, 0, int32(offset)} }
func Byte(offset int) Instruction { return Instruction{0x30, 0, 0, int32(offset)} }

func SkipIf(register, value, skip int) Instruction {
	return Instruction{0x15, uint8(register), int16(skip), int32(value)}
}
func SkipUnless(register, value, skip int) Instruction {
	return Instruction{0x55, uint8(register), int16(skip), int32(value)}
}
func SkipUnlessSame(register, other, skip int) Instruction {
	return Instruction{0x5d, uint8(register | other<<4), int16(skip), 0}
}

// Exit ends the program with the verdict in register 0.
var Exit = Instruction{0x95, 0, 0, 0}

// Helpers, offsets in struct __sk_buff, and verdicts (linux/bpf.h, linux/pkt_cls.h).
const (
	HelperCloneRedirect = 13
	HelperVLANPush      = 18
	HelperVLANPop       = 19
	HelperRedirect      = 23

	OffsetMark     = 8
	OffsetProtocol = 16
	OffsetPresent  = 20
	OffsetTag      = 24
	OffsetTagProto = 28

	VerdictNext = -1
	VerdictDrop = 2

	FlagIngress = 1
)

// Ethertype is a type as it lies in memory.
func Ethertype(kind uint16) int {
	return int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, kind)))
}

// Supported tells whether the kernel takes programs.
func Supported() bool {
	p, err := load([]Instruction{Set(0, VerdictNext), Exit})
	if err == nil {
		p.Close()
	}
	return err == nil
}

// load gives instructions to the kernel, which checks them. The file must be closed.
func load(all []Instruction) (*os.File, error) {
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
	const progLoad = 5 // BPF_PROG_LOAD
	fd, _, errno := unix.Syscall(unix.SYS_BPF, progLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(instructions)
	runtime.KeepAlive(license)
	if errno != 0 {
		return nil, fmt.Errorf("load BPF program: %w", errno)
	}
	return os.NewFile(fd, "bpf"), nil
}
