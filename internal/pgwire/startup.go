package pgwire

import (
	"encoding/binary"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Versions a StartupMessage may ask for: major times 65536 plus minor.
const (
	Version30 = 3 << 16
	Version32 = 3<<16 | 2
)

// Bounds of the first message.
const (
	maxParams = 64
	maxSecret = 256
)

// The codes that stand where a version would.
const (
	codeCancel = 1234<<16 | 5678
	codeSSL    = 1234<<16 | 5679
	codeGSSENC = 1234<<16 | 5680
)

// A Startup is what a connection begins with: a *StartupMessage, *CancelRequest,
// SSLRequest or GSSENCRequest.
type Startup interface {
	Message
	startup()
}

// A StartupMessage asks for a session.
type StartupMessage struct {
	Version uint32 // the major version is 3; the minor version is any
	Params  []Param
}

// A Param is one setting of a StartupMessage.
type Param struct{ Name, Value string }

// A CancelRequest asks to cancel what another connection is doing.
type CancelRequest struct {
	PID    uint32
	Secret secret.Text // 4 bytes in version 3.0, up to 256 since 3.2
}

// An SSLRequest asks for TLS, and a GSSENCRequest for GSSAPI encryption.
type (
	SSLRequest    struct{}
	GSSENCRequest struct{}
)

func (*StartupMessage) startup() {}
func (*CancelRequest) startup()  {}
func (SSLRequest) startup()      {}
func (GSSENCRequest) startup()   {}

// Param returns the value of the setting name, and whether there is one.
func (m *StartupMessage) Param(name string) (string, bool) {
	for _, p := range m.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Encode implements [Message].
func (m *StartupMessage) Encode(dst []byte) ([]byte, error) {
	d := newUntyped(dst)
	d.uint32(m.Version)
	if len(m.Params) > maxParams {
		d.fail("too many settings")
	}
	for _, p := range m.Params {
		if p.Name == "" {
			d.fail("a setting has no name")
		}
		d.text(p.Name)
		d.text(p.Value)
	}
	d.uint8(0)
	return d.done()
}

// Encode implements [Message].
func (m *CancelRequest) Encode(dst []byte) ([]byte, error) {
	d := newUntyped(dst)
	d.uint32(codeCancel)
	d.uint32(m.PID)
	if n := m.Secret.Len(); n < 4 || n > maxSecret {
		d.fail("the secret of a cancel request has a wrong length")
	}
	d.bytes([]byte(m.Secret.Reveal()))
	return d.done()
}

// Encode implements [Message].
func (SSLRequest) Encode(dst []byte) ([]byte, error) { return bareRequest(dst, codeSSL) }

// Encode implements [Message].
func (GSSENCRequest) Encode(dst []byte) ([]byte, error) { return bareRequest(dst, codeGSSENC) }

func bareRequest(dst []byte, code uint32) ([]byte, error) {
	d := newUntyped(dst)
	d.uint32(code)
	return d.done()
}

// ReadStartup reads the first message of a connection, of at most limit bytes
// all told. It allocates what has arrived and no more.
func (r *Reader) ReadStartup(limit int) (Startup, error) {
	p, err := r.peek(4)
	if err != nil {
		return nil, err
	}
	n, err := bodyLen(binary.BigEndian.Uint32(p), limit-4)
	if err != nil {
		return nil, err
	}
	b, err := r.read(n)
	if err != nil {
		return nil, err
	}
	return decodeStartup(b)
}

func decodeStartup(p []byte) (Startup, error) {
	b := body{what: "startup", b: p}
	code := b.uint32()
	switch {
	case b.err != nil:
		return nil, b.err
	case code == codeSSL:
		return finish(SSLRequest{}, b.done())
	case code == codeGSSENC:
		return finish(GSSENCRequest{}, b.done())
	case code == codeCancel:
		return decodeCancel(&b)
	case code>>16 == 3:
		return decodeStartupMessage(&b, code)
	default:
		return nil, refusal.New(refusal.Malformed, "pgwire: protocol version %d.%d", code>>16, code&0xffff)
	}
}

func decodeCancel(b *body) (Startup, error) {
	m := &CancelRequest{PID: b.uint32()}
	if n := len(b.b); n < 4 || n > maxSecret {
		b.fail("the secret of a cancel request has a wrong length")
	}
	m.Secret = secret.New(string(b.take(len(b.b))))
	return finish(m, b.done())
}

func decodeStartupMessage(b *body, version uint32) (Startup, error) {
	m := &StartupMessage{Version: version}
	for b.err == nil {
		name := b.text()
		if name == "" {
			break
		}
		if _, twice := m.Param(name); twice {
			b.fail("names a setting twice")
		}
		if len(m.Params) == maxParams {
			b.fail("has too many settings")
		}
		m.Params = append(m.Params, Param{name, b.text()})
	}
	return finish(m, b.done())
}

func finish(m Startup, err error) (Startup, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}
