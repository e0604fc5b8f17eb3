package pgwire

import (
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// A TxStatus is where a session stands between statements.
type TxStatus byte

// The states there are.
const (
	Idle          TxStatus = 'I'
	InTransaction TxStatus = 'T'
	InFailed      TxStatus = 'E'
)

// A ParameterStatus reports a setting and each of its changes.
type ParameterStatus struct{ Name, Value string }

// A BackendKeyData is what a CancelRequest must show.
type BackendKeyData struct {
	PID    uint32
	Secret secret.Text
}

// A ReadyForQuery ends the answer to a Sync or Query.
type ReadyForQuery struct{ Status TxStatus }

// A CommandComplete ends the answer to one statement.
type CommandComplete struct{ Tag string }

// A ParameterDescription lists the types of a statement's parameters.
type ParameterDescription struct{ Types []uint32 }

// A RowDescription lists the columns of rows that follow.
type RowDescription struct{ Columns []Column }

// A Column is one column of a RowDescription.
type Column struct {
	Name      string
	Table     uint32
	Attribute uint16
	Type      uint32
	Size      int16
	Modifier  int32
	Format    Format
}

// A DataRow is one row; a nil value is NULL.
type DataRow struct{ Values [][]byte }

// A CopyResponse begins COPY data in the direction Direction says.
type CopyResponse struct {
	Direction Backend // CopyInResponse, CopyOutResponse or CopyBothResponse
	Format    Format
	Columns   []Format
}

// A NegotiateProtocolVersion says what of a StartupMessage is not known here.
type NegotiateProtocolVersion struct {
	Newest       uint32   // the newest version, see Version30
	Unrecognised []string // names of settings that begin with _pq_.
}

// An Opaque is a message known by its type only. It is passed on as it is.
type Opaque struct {
	Type Backend
	Body []byte
}

// DecodeBackend returns the message of type t with the body p. Messages
// without fields, and those nobody here needs to understand, are Opaque; all
// others are pointers. What is decoded does not refer to p, except DataRow and
// Opaque, which are parts of it.
func DecodeBackend(t Backend, p []byte) (Message, error) {
	b := &body{what: t.String(), b: p}
	m := decodeBackend(t, b)
	if m == nil {
		return nil, refusal.New(refusal.Malformed, "pgwire: a store has no message %q", byte(t))
	}
	if err := b.done(); err != nil {
		return nil, err
	}
	return m, nil
}

func decodeBackend(t Backend, b *body) Message {
	switch t {
	case BackendAuthentication:
		return decodeAuthentication(b)
	case BackendParameterStatus:
		return &ParameterStatus{Name: b.raw(), Value: b.raw()}
	case BackendBackendKeyData:
		return decodeKeyData(b)
	case BackendReadyForQuery:
		return decodeReady(b)
	case BackendCommandComplete:
		return &CommandComplete{Tag: b.raw()}
	case BackendErrorResponse:
		return &ErrorResponse{decodeFields(b)}
	case BackendNoticeResponse:
		return &NoticeResponse{decodeFields(b)}
	case BackendParameterDescription:
		return decodeParameters(b)
	case BackendRowDescription:
		return decodeColumns(b)
	case BackendDataRow:
		return decodeRow(b)
	case BackendCopyInResponse, BackendCopyOutResponse, BackendCopyBothResponse:
		return decodeCopy(t, b)
	case BackendNegotiateProtocolVersion:
		return decodeNegotiate(b)
	case BackendBindComplete, BackendCloseComplete, BackendCopyDone, BackendEmptyQueryResponse,
		BackendNoData, BackendParseComplete, BackendPortalSuspended:
		return &Opaque{Type: t}
	case BackendCopyData, BackendFunctionCallResponse, BackendNotificationResponse:
		return &Opaque{Type: t, Body: b.take(len(b.b))}
	default:
		return nil
	}
}

func decodeKeyData(b *body) Message {
	m := &BackendKeyData{PID: b.uint32()}
	if n := len(b.b); n < 4 || n > maxSecret {
		b.fail("the secret has a wrong length")
	}
	m.Secret = secret.New(string(b.take(len(b.b))))
	return m
}

func decodeReady(b *body) Message {
	m := &ReadyForQuery{Status: TxStatus(b.uint8())}
	if !m.Status.valid() {
		b.fail("has an unknown status")
	}
	return m
}

func (s TxStatus) valid() bool { return s == Idle || s == InTransaction || s == InFailed }

func decodeParameters(b *body) Message {
	m := &ParameterDescription{}
	if n := b.count(4); n > 0 {
		m.Types = make([]uint32, n)
		for i := range m.Types {
			m.Types[i] = b.uint32()
		}
	}
	return m
}

// columnSize is the least a Column takes: a NUL and 18 bytes.
const columnSize = 19

func decodeColumns(b *body) Message {
	m := &RowDescription{}
	n := b.count(columnSize)
	if n > 0 {
		m.Columns = make([]Column, n)
	}
	for i := range m.Columns {
		m.Columns[i] = Column{
			Name: b.raw(), Table: b.uint32(), Attribute: b.uint16(), Type: b.uint32(),
			Size: int16(b.uint16()), Modifier: int32(b.uint32()), Format: b.format(),
		}
	}
	return m
}

func decodeRow(b *body) Message {
	m := &DataRow{}
	if n := b.count(4); n > 0 {
		m.Values = make([][]byte, n)
		for i := range m.Values {
			m.Values[i] = b.value()
		}
	}
	return m
}

func decodeCopy(t Backend, b *body) Message {
	m := &CopyResponse{Direction: t, Format: Format(b.uint8())}
	if m.Format > Binary {
		b.fail("has an unknown format code")
	}
	m.Columns = b.formats()
	return m
}

func decodeNegotiate(b *body) Message {
	m := &NegotiateProtocolVersion{Newest: b.uint32()}
	n := b.uint32()
	if uint64(n) > uint64(len(b.b)) || n > maxParams {
		b.fail("counts more than it holds")
		return m
	}
	for range n {
		m.Unrecognised = append(m.Unrecognised, b.raw())
	}
	return m
}
