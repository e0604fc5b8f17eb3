package pgwire

// An AuthKind is what a store asks of who logs in.
type AuthKind uint32

// What a store may ask; anything else is refused.
const (
	AuthOK           AuthKind = 0
	AuthCleartext    AuthKind = 3
	AuthMD5          AuthKind = 5
	AuthSASL         AuthKind = 10
	AuthSASLContinue AuthKind = 11
	AuthSASLFinal    AuthKind = 12
)

// An Authentication is one step of logging in, as the store says it.
type Authentication struct {
	Kind       AuthKind
	Salt       [4]byte  // of AuthMD5
	Mechanisms []string // of AuthSASL, at least one
	Data       []byte   // of AuthSASLContinue and AuthSASLFinal
}

// A SASLInitialResponse chooses a mechanism and speaks first. It is written
// only: a client of ours is never asked for one.
type SASLInitialResponse struct {
	Mechanism string
	Data      []byte
}

// A SASLResponse is a later step. It is written only.
type SASLResponse struct{ Data []byte }

// maxMechanisms bounds what a store may offer.
const maxMechanisms = 16

func decodeAuthentication(b *body) Message {
	m := &Authentication{Kind: AuthKind(b.uint32())}
	switch m.Kind {
	case AuthOK, AuthCleartext:
	case AuthMD5:
		copy(m.Salt[:], b.take(4))
	case AuthSASL:
		m.Mechanisms = decodeMechanisms(b)
	case AuthSASLContinue, AuthSASLFinal:
		m.Data = []byte(string(b.take(len(b.b))))
	default:
		b.fail("asks for something unknown")
	}
	return m
}

func decodeMechanisms(b *body) []string {
	var ms []string
	for b.err == nil {
		name := b.text()
		if name == "" {
			break
		}
		if len(ms) == maxMechanisms {
			b.fail("offers too many mechanisms")
		}
		ms = append(ms, name)
	}
	if len(ms) == 0 {
		b.fail("offers no mechanism")
	}
	return ms
}

// Encode implements [Message].
func (m *Authentication) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendAuthentication))
	d.uint32(uint32(m.Kind))
	switch m.Kind {
	case AuthOK, AuthCleartext:
	case AuthMD5:
		d.bytes(m.Salt[:])
	case AuthSASL:
		if len(m.Mechanisms) == 0 {
			d.fail("no mechanism")
		}
		for _, name := range m.Mechanisms {
			if name == "" {
				d.fail("a mechanism has no name")
			}
			d.text(name)
		}
		d.uint8(0)
	case AuthSASLContinue, AuthSASLFinal:
		d.bytes(m.Data)
	default:
		d.fail("an unknown kind of authentication")
	}
	return d.done()
}

// Encode implements [Message].
func (m *SASLInitialResponse) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendPassword))
	d.text(m.Mechanism)
	d.value(m.Data)
	return d.done()
}

// Encode implements [Message].
func (m *SASLResponse) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(FrontendPassword))
	d.bytes(m.Data)
	return d.done()
}
