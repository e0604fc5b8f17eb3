package pgwire

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
)

// A body is what is left to decode of a message. The first failure sticks
// and every later field is empty, so that a decoder checks once, in done.
type body struct {
	what string
	b    []byte
	err  error
}

func (b *body) fail(why string) {
	if b.err == nil {
		b.err = refusal.New(refusal.Malformed, "pgwire: %s: %s", b.what, why)
	}
	b.b = nil
}

func (b *body) take(n int) []byte {
	if n < 0 || n > len(b.b) {
		b.fail("ends early")
		return nil
	}
	p := b.b[:n:n]
	b.b = b.b[n:]
	return p
}

func (b *body) uint8() byte {
	if p := b.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (b *body) uint16() uint16 {
	if p := b.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (b *body) uint32() uint32 {
	if p := b.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// count reads a two-byte count of things that take at least size bytes each:
// it is refused before anything is allocated for them.
func (b *body) count(size int) int {
	n := int(b.uint16())
	if n > len(b.b)/size {
		b.fail("counts more than it holds")
		return 0
	}
	return n
}

// raw reads up to a NUL, which it drops.
func (b *body) raw() string {
	for i, c := range b.b {
		if c == 0 {
			s := string(b.b[:i])
			b.b = b.b[i+1:]
			return s
		}
	}
	b.fail("has a string without an end")
	return ""
}

// text is raw and valid UTF-8.
func (b *body) text() string {
	s := b.raw()
	if !utf8.ValidString(s) {
		b.fail("has a name that is not UTF-8")
		return ""
	}
	return s
}

// formats reads a list of format codes: nil if it is empty.
func (b *body) formats() []Format {
	n := b.count(2)
	if n == 0 {
		return nil
	}
	fs := make([]Format, n)
	for i := range fs {
		fs[i] = b.format()
	}
	return fs
}

func (b *body) format() Format {
	f := Format(b.uint16())
	if f > Binary {
		b.fail("has an unknown format code")
	}
	return f
}

// value reads a value with its length: nil is NULL. It is part of b.
func (b *body) value() []byte {
	n := int32(b.uint32())
	if n == -1 {
		return nil
	}
	p := b.take(int(n))
	if p == nil {
		return []byte{}
	}
	return p
}

// done returns the failure, if there was one, or that bytes are left over.
func (b *body) done() error {
	if b.err == nil && len(b.b) > 0 {
		b.fail("has bytes behind its end")
	}
	return b.err
}

// A draft is a message being encoded behind what dst held.
type draft struct {
	b     []byte
	start int // of the message in b
	typed int // 1 with a type byte, 0 without
	err   error
}

func newDraft(dst []byte, t byte) *draft {
	return &draft{b: append(dst, t, 0, 0, 0, 0), start: len(dst), typed: 1}
}

func newUntyped(dst []byte) *draft {
	return &draft{b: append(dst, 0, 0, 0, 0), start: len(dst)}
}

func (d *draft) fail(why string) {
	if d.err == nil {
		d.err = refusal.New(refusal.Malformed, "pgwire: cannot encode: %s", why)
	}
}

func (d *draft) uint8(v byte)    { d.b = append(d.b, v) }
func (d *draft) uint16(v uint16) { d.b = binary.BigEndian.AppendUint16(d.b, v) }
func (d *draft) uint32(v uint32) { d.b = binary.BigEndian.AppendUint32(d.b, v) }
func (d *draft) bytes(p []byte)  { d.b = append(d.b, p...) }

func (d *draft) count(n int) {
	if n > math.MaxUint16 {
		d.fail("too many parts")
	}
	d.uint16(uint16(n))
}

// text appends s and a NUL.
func (d *draft) text(s string) {
	if strings.IndexByte(s, 0) >= 0 {
		d.fail("a string holds NUL")
	}
	d.b = append(append(d.b, s...), 0)
}

func (d *draft) formats(fs []Format) {
	d.count(len(fs))
	for _, f := range fs {
		d.uint16(uint16(f))
	}
}

func (d *draft) value(p []byte) {
	if p == nil {
		d.uint32(math.MaxUint32)
		return
	}
	if len(p) > math.MaxInt32 {
		d.fail("a value is too long")
	}
	d.uint32(uint32(len(p)))
	d.bytes(p)
}

// done writes the length, and returns the message behind what was there.
func (d *draft) done() ([]byte, error) {
	n := len(d.b) - d.start - d.typed
	if n > math.MaxInt32 {
		d.fail("it is too long")
	}
	if d.err != nil {
		return d.b[:d.start], d.err
	}
	binary.BigEndian.PutUint32(d.b[d.start+d.typed:], uint32(n))
	return d.b, nil
}
