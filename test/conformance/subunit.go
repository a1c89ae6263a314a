package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// packet is one of subunit's binary stream, version 2: what is new about a test.
// Format: https://github.com/testing-cabal/subunit/blob/master/README.rst
type packet struct {
	time    time.Time
	test    string
	status  status
	file    string // name of an attachment
	content []byte // the next part of it
}

type status int

const (
	statusNone status = iota
	statusExists
	statusInProgress
	statusSuccess
	statusUnexpectedSuccess
	statusSkip
	statusFail
	statusExpectedFail
)

const (
	signature   = 0xB3
	version     = 0x2000
	versionMask = 0xF000

	flagTestID = 0x0800
	flagTime   = 0x0200
	flagTags   = 0x0080
	flagFile   = 0x0040
	flagMIME   = 0x0020
	statusMask = 0x0007
)

// readPacket reads the next packet and passes over bytes between packets, which are a program's own output. The error is
// io.EOF at the end of the stream.
func readPacket(r *bufio.Reader) (packet, error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return packet{}, err
		}
		if b == signature {
			break
		}
	}
	head, err := r.Peek(5) // flags and length
	if err != nil {
		return packet{}, errors.New("a packet is cut off before its length")
	}
	size, err := (&fields{rest: head[2:]}).number()
	if err != nil || size < 8 {
		return packet{}, fmt.Errorf("a packet of %d bytes", size)
	}
	whole := make([]byte, size)
	whole[0] = signature
	if _, err := io.ReadFull(r, whole[1:]); err != nil {
		return packet{}, fmt.Errorf("read a packet of %d bytes: %w", size, err)
	}
	body, sum := whole[:size-4], whole[size-4:]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(sum) {
		return packet{}, errors.New("a packet has a wrong checksum")
	}
	return parsePacket(body)
}

func parsePacket(body []byte) (p packet, err error) {
	flags := binary.BigEndian.Uint16(body[1:])
	if flags&versionMask != version {
		return p, fmt.Errorf("a packet has flags %#x of another version", flags)
	}
	p.status = status(flags & statusMask)
	f := &fields{rest: body[3:]}
	f.number() // the length
	if flags&flagTime != 0 {
		seconds := binary.BigEndian.Uint32(f.bytes(4))
		nanoseconds, _ := f.number()
		p.time = time.Unix(int64(seconds), int64(nanoseconds))
	}
	if flags&flagTestID != 0 {
		p.test = string(f.text())
	}
	if flags&flagTags != 0 {
		for n, _ := f.number(); n > 0; n-- {
			f.text()
		}
	}
	if flags&flagMIME != 0 {
		f.text()
	}
	if flags&flagFile != 0 {
		p.file, p.content = string(f.text()), f.text()
	}
	return p, f.err
}

// fields are read one after the other; err is the first error.
type fields struct {
	rest []byte
	err  error
}

// bytes returns the next n bytes, zeros if there are not so many.
func (f *fields) bytes(n int) []byte {
	if n > len(f.rest) {
		f.err, f.rest = errors.New("a packet ends too early"), nil
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// number reads a number of 1 to 4 bytes; the two highest bits say how many more follow.
func (f *fields) number() (int, error) {
	first := f.bytes(1)[0]
	n := int(first & 0x3f)
	for _, b := range f.bytes(int(first >> 6)) {
		n = n<<8 | int(b)
	}
	return n, f.err
}

func (f *fields) text() []byte {
	n, err := f.number()
	if err != nil {
		return nil
	}
	return f.bytes(n)
}
