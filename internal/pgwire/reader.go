package pgwire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/isocore/isocore/refusal"
)

const (
	chunk = 4 << 10  // the most a Reader allocates ahead of the bytes that fill it
	keep  = 16 << 10 // the largest buffer a Reader keeps for the next message
)

// A Header is the type of a message and the length of its body.
type Header struct {
	Type byte
	Len  int
}

// Encode appends h as it stands before its body on the wire.
func (h Header) Encode(dst []byte) ([]byte, error) {
	if h.Len < 0 || h.Len > math.MaxInt32-4 {
		return dst, refusal.New(refusal.TooLarge, "pgwire: a body of %d bytes", h.Len)
	}
	return binary.BigEndian.AppendUint32(append(dst, h.Type), uint32(h.Len)+4), nil
}

// A Reader reads the messages of one side. It takes from its bufio.Reader the
// bytes of the message it was asked for and no more, so the bufio.Reader may be
// handed on between messages. It is for one goroutine.
type Reader struct {
	in   *bufio.Reader
	buf  []byte // for bodies larger than in's buffer
	left int    // bytes of a body announced by ReadHeader and not read
}

// NewReader returns a Reader of in.
func NewReader(in *bufio.Reader) *Reader { return &Reader{in: in} }

// Buffered returns how many bytes have arrived beyond what was read. Behind an
// SSLRequest or GSSENCRequest it must be zero before the handshake: more would
// be plain text taken for part of the encrypted session.
func (r *Reader) Buffered() int { return r.in.Buffered() }

// ReadHeader reads the type and length of the next message. A body longer
// than limit is refused before any of it is read. At the end of the stream
// between two messages it returns io.EOF itself.
func (r *Reader) ReadHeader(limit int) (Header, error) {
	if r.left > 0 {
		return Header{}, errUnread
	}
	p, err := r.peek(5)
	if err != nil {
		return Header{}, err
	}
	h := Header{Type: p[0]}
	if h.Len, err = bodyLen(binary.BigEndian.Uint32(p[1:]), limit); err != nil {
		return Header{}, err
	}
	r.left = h.Len
	return h, nil
}

// Body returns the body announced by the last ReadHeader. It is valid until
// the next read from r or its bufio.Reader.
func (r *Reader) Body() ([]byte, error) {
	n := r.left
	r.left = 0
	return r.read(n)
}

// CopyBody copies the body announced by the last ReadHeader to dst as it
// arrives. After an error the stream is out of step.
func (r *Reader) CopyBody(dst io.Writer) error {
	n := r.left
	r.left = 0
	for n > 0 {
		if _, err := r.in.Peek(1); err != nil {
			return inside(err)
		}
		p, err := r.in.Peek(min(n, r.in.Buffered()))
		if err != nil {
			return inside(err)
		}
		if _, err := dst.Write(p); err != nil {
			return err
		}
		m, err := r.in.Discard(len(p))
		if err != nil {
			return inside(err)
		}
		n -= m
	}
	return nil
}

// DropBody reads past the body announced by the last ReadHeader.
func (r *Reader) DropBody() error {
	n := r.left
	r.left = 0
	_, err := r.in.Discard(n)
	return inside(err)
}

// ReadMessage is [Reader.ReadHeader] and [Reader.Body]: the type of the next
// message and its body of at most limit bytes, valid until the next read.
func (r *Reader) ReadMessage(limit int) (byte, []byte, error) {
	h, err := r.ReadHeader(limit)
	if err != nil {
		return 0, nil, err
	}
	b, err := r.Body()
	return h.Type, b, err
}

// peek reads the first n bytes of a message.
func (r *Reader) peek(n int) ([]byte, error) {
	p, err := r.in.Peek(n)
	if err != nil && len(p) > 0 {
		return nil, inside(err)
	}
	if err != nil {
		return nil, err
	}
	// What Peek returned stays in the buffer: Discard only moves on within it.
	_, err = r.in.Discard(n)
	return p, err
}

// read reads n bytes of a message that has begun, from in's buffer if they fit
// there. A larger buffer grows as the bytes come: a length costs its sender
// as many bytes as it costs us.
func (r *Reader) read(n int) ([]byte, error) {
	if n <= r.in.Size() {
		p, err := r.in.Peek(n)
		if err != nil {
			return nil, inside(err)
		}
		_, err = r.in.Discard(n)
		return p, err
	}
	b := r.buf[:0]
	for len(b) < n {
		b = slices.Grow(b, min(n-len(b), max(chunk, len(b))))
		end := min(n, cap(b))
		m, err := io.ReadFull(r.in, b[len(b):end])
		b = b[:len(b)+m]
		if err != nil {
			return nil, inside(err)
		}
	}
	r.buf = b
	if cap(b) > keep {
		r.buf = nil
	}
	return b, nil
}

var errUnread = errors.New("pgwire: the body before was not read")

// bodyLen returns the length of a body from the length on the wire, which
// counts itself.
func bodyLen(n uint32, limit int) (int, error) {
	if n < 4 || n > math.MaxInt32 {
		return 0, refusal.New(refusal.Malformed, "pgwire: a message cannot have length %d", int32(n))
	}
	if int64(n)-4 > int64(limit) {
		return 0, refusal.New(refusal.TooLarge, "pgwire: a body of %d bytes; the limit is %d", n-4, limit)
	}
	return int(n - 4), nil
}

// inside returns err, or io.ErrUnexpectedEOF for an end within a message.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
