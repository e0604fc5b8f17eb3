package pgwire

import (
	"bytes"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// A Format says how a value is written.
type Format uint16

// The formats there are.
const (
	Text   Format = 0
	Binary Format = 1
)

// A Target is what a Describe or Close names.
type Target byte

// The targets there are.
const (
	Statement Target = 'S'
	Portal    Target = 'P'
)

// A FrontendMessage is one message of a client. Nothing decoded refers to the
// buffer it came from.
type FrontendMessage interface {
	Message
	Type() Frontend
}

// A Parse prepares a statement.
type Parse struct {
	Name       string // of the prepared statement; "" is the unnamed one
	Query      string // any bytes but NUL: that it is UTF-8 is for who reads it
	ParamTypes []uint32
}

// A Bind gives a prepared statement its parameters and makes a portal.
type Bind struct {
	Portal, Statement string
	ParamFormats      []Format // none: all text; one: for all; else one each
	Params            [][]byte // nil is NULL
	ResultFormats     []Format
}

// A Describe asks what a statement takes or a portal returns.
type Describe struct {
	Target Target
	Name   string
}

// An Execute runs a portal.
type Execute struct {
	Portal  string
	MaxRows int32 // not positive: all
}

// A Close forgets a statement or portal.
type Close struct {
	Target Target
	Name   string
}

// A Query is one or more statements of the simple protocol.
type Query struct{ Text string } // any bytes but NUL

// A Password answers a request for one in clear text.
type Password struct{ Password secret.Text }

// A CopyData is a piece of COPY data, cut anywhere.
type CopyData struct{ Data []byte }

// A CopyFail ends a COPY FROM without success.
type CopyFail struct{ Reason string }

// The messages that say nothing but their type. A FunctionCall calls a
// function by its OID, past every look at SQL; it is recognised to be refused
// and can be neither read nor written.
type (
	CopyDone     struct{}
	Flush        struct{}
	FunctionCall struct{}
	Sync         struct{}
	Terminate    struct{}
)

// Type implements [FrontendMessage].
func (*Parse) Type() Frontend { return FrontendParse }

// Type implements [FrontendMessage].
func (*Bind) Type() Frontend { return FrontendBind }

// Type implements [FrontendMessage].
func (*Describe) Type() Frontend { return FrontendDescribe }

// Type implements [FrontendMessage].
func (*Execute) Type() Frontend { return FrontendExecute }

// Type implements [FrontendMessage].
func (*Close) Type() Frontend { return FrontendClose }

// Type implements [FrontendMessage].
func (*Query) Type() Frontend { return FrontendQuery }

// Type implements [FrontendMessage].
func (*Password) Type() Frontend { return FrontendPassword }

// Type implements [FrontendMessage].
func (*CopyData) Type() Frontend { return FrontendCopyData }

// Type implements [FrontendMessage].
func (*CopyFail) Type() Frontend { return FrontendCopyFail }

// Type implements [FrontendMessage].
func (CopyDone) Type() Frontend { return FrontendCopyDone }

// Type implements [FrontendMessage].
func (Flush) Type() Frontend { return FrontendFlush }

// Type implements [FrontendMessage].
func (FunctionCall) Type() Frontend { return FrontendFunctionCall }

// Type implements [FrontendMessage].
func (Sync) Type() Frontend { return FrontendSync }

// Type implements [FrontendMessage].
func (Terminate) Type() Frontend { return FrontendTerminate }

// DecodeFrontend returns the message of type t with the body p. The body of a
// FunctionCall is not looked at.
func DecodeFrontend(t Frontend, p []byte) (FrontendMessage, error) {
	b := &body{what: t.String(), b: p}
	m := decodeFrontend(t, b)
	if m == nil {
		return nil, refusal.New(refusal.Malformed, "pgwire: a client has no message %q", byte(t))
	}
	if err := b.done(); err != nil {
		return nil, err
	}
	return m, nil
}

func decodeFrontend(t Frontend, b *body) FrontendMessage {
	switch t {
	case FrontendParse:
		return decodeParse(b)
	case FrontendBind:
		return decodeBind(b)
	case FrontendDescribe:
		return &Describe{Target: b.target(), Name: b.text()}
	case FrontendExecute:
		return &Execute{Portal: b.text(), MaxRows: int32(b.uint32())}
	case FrontendClose:
		return &Close{Target: b.target(), Name: b.text()}
	case FrontendQuery:
		return &Query{Text: b.raw()}
	case FrontendPassword:
		return &Password{Password: secret.New(b.raw())}
	case FrontendCopyData:
		return &CopyData{Data: bytes.Clone(b.take(len(b.b)))}
	case FrontendCopyFail:
		return &CopyFail{Reason: b.raw()}
	case FrontendCopyDone:
		return CopyDone{}
	case FrontendFlush:
		return Flush{}
	case FrontendSync:
		return Sync{}
	case FrontendTerminate:
		return Terminate{}
	case FrontendFunctionCall:
		b.b = nil
		return FunctionCall{}
	default:
		return nil
	}
}

func (b *body) target() Target {
	t := Target(b.uint8())
	if t != Statement && t != Portal {
		b.fail("names neither a statement nor a portal")
	}
	return t
}

func decodeParse(b *body) *Parse {
	m := &Parse{Name: b.text(), Query: b.raw()}
	if n := b.count(4); n > 0 {
		m.ParamTypes = make([]uint32, n)
		for i := range m.ParamTypes {
			m.ParamTypes[i] = b.uint32()
		}
	}
	return m
}

func decodeBind(b *body) *Bind {
	b.b = bytes.Clone(b.b)
	m := &Bind{Portal: b.text(), Statement: b.text(), ParamFormats: b.formats()}
	if n := b.count(4); n > 0 {
		m.Params = make([][]byte, n)
		for i := range m.Params {
			m.Params[i] = b.value()
		}
	}
	if n := len(m.ParamFormats); n > 1 && n != len(m.Params) {
		b.fail("has another number of formats than of parameters")
	}
	m.ResultFormats = b.formats()
	return m
}

// Encode implements [Message].
func (m *Parse) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendParse))
	d.text(m.Name)
	d.text(m.Query)
	d.count(len(m.ParamTypes))
	for _, t := range m.ParamTypes {
		d.uint32(t)
	}
	return d.done()
}

// Encode implements [Message].
func (m *Bind) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendBind))
	d.text(m.Portal)
	d.text(m.Statement)
	d.formats(m.ParamFormats)
	d.count(len(m.Params))
	for _, p := range m.Params {
		d.value(p)
	}
	d.formats(m.ResultFormats)
	return d.done()
}

// Encode implements [Message].
func (m *Describe) Encode(dst []byte) ([]byte, error) {
	return encodeTarget(dst, FrontendDescribe, m.Target, m.Name)
}

// Encode implements [Message].
func (m *Close) Encode(dst []byte) ([]byte, error) {
	return encodeTarget(dst, FrontendClose, m.Target, m.Name)
}

func encodeTarget(dst []byte, f Frontend, t Target, name string) ([]byte, error) {
	d := newDraft(dst, byte(f))
	if t != Statement && t != Portal {
		d.fail("neither a statement nor a portal")
	}
	d.uint8(byte(t))
	d.text(name)
	return d.done()
}

// Encode implements [Message].
func (m *Execute) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendExecute))
	d.text(m.Portal)
	d.uint32(uint32(m.MaxRows))
	return d.done()
}

// Encode implements [Message].
func (m *Query) Encode(dst []byte) ([]byte, error) { return encodeText(dst, FrontendQuery, m.Text) }

// Encode implements [Message].
func (m *Password) Encode(dst []byte) ([]byte, error) {
	return encodeText(dst, FrontendPassword, m.Password.Reveal())
}

// Encode implements [Message].
func (m *CopyFail) Encode(dst []byte) ([]byte, error) {
	return encodeText(dst, FrontendCopyFail, m.Reason)
}

func encodeText(dst []byte, f Frontend, s string) ([]byte, error) {
	d := newDraft(dst, byte(f))
	d.text(s)
	return d.done()
}

// Encode implements [Message].
func (m *CopyData) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendCopyData))
	d.bytes(m.Data)
	return d.done()
}

// Encode implements [Message].
func (CopyDone) Encode(dst []byte) ([]byte, error) { return encodeBare(dst, FrontendCopyDone) }

// Encode implements [Message].
func (Flush) Encode(dst []byte) ([]byte, error) { return encodeBare(dst, FrontendFlush) }

// Encode implements [Message]. It always fails.
func (FunctionCall) Encode(dst []byte) ([]byte, error) {
	return dst, refusal.New(refusal.Denied, "pgwire: a FunctionCall is never written")
}

// Encode implements [Message].
func (Sync) Encode(dst []byte) ([]byte, error) { return encodeBare(dst, FrontendSync) }

// Encode implements [Message].
func (Terminate) Encode(dst []byte) ([]byte, error) { return encodeBare(dst, FrontendTerminate) }

func encodeBare(dst []byte, f Frontend) ([]byte, error) {
	return append(dst, byte(f), 0, 0, 0, 4), nil
}
