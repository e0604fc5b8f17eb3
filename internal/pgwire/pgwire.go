// Package pgwire reads and writes the messages of the PostgreSQL protocol,
// version 3, strictly: what it accepts, it writes again byte for byte.
//
// It knows framing and fields and nothing of tenants, verdicts or
// connections. Every limit is checked before memory is taken, and every
// failure is a [refusal.Error], Malformed or TooLarge.
package pgwire

import "github.com/isocore/isocore/refusal"

// A Message is one message with its type and length, of either side.
type Message interface {
	// Encode appends the whole message to dst. It fails, and returns dst as
	// it was, if a field cannot be said on the wire.
	Encode(dst []byte) ([]byte, error)
}

// A Frontend is the type byte of a message from a client.
type Frontend byte

// The messages of a client. SASL and GSS answers share the type of a password.
const (
	FrontendBind         Frontend = 'B'
	FrontendClose        Frontend = 'C'
	FrontendCopyData     Frontend = 'd'
	FrontendCopyDone     Frontend = 'c'
	FrontendCopyFail     Frontend = 'f'
	FrontendDescribe     Frontend = 'D'
	FrontendExecute      Frontend = 'E'
	FrontendFlush        Frontend = 'H'
	FrontendFunctionCall Frontend = 'F'
	FrontendParse        Frontend = 'P'
	FrontendPassword     Frontend = 'p'
	FrontendQuery        Frontend = 'Q'
	FrontendSync         Frontend = 'S'
	FrontendTerminate    Frontend = 'X'
)

var frontendNames = map[Frontend]string{
	FrontendBind: "Bind", FrontendClose: "Close", FrontendCopyData: "CopyData", FrontendCopyDone: "CopyDone",
	FrontendCopyFail: "CopyFail", FrontendDescribe: "Describe", FrontendExecute: "Execute", FrontendFlush: "Flush",
	FrontendFunctionCall: "FunctionCall", FrontendParse: "Parse", FrontendPassword: "Password", FrontendQuery: "Query",
	FrontendSync: "Sync", FrontendTerminate: "Terminate",
}

// ParseFrontend returns b as a Frontend if a client may send it.
func ParseFrontend(b byte) (Frontend, error) {
	if _, ok := frontendNames[Frontend(b)]; !ok {
		return 0, refusal.New(refusal.Malformed, "pgwire: a client has no message %q", b)
	}
	return Frontend(b), nil
}

func (f Frontend) String() string {
	if name, ok := frontendNames[f]; ok {
		return name
	}
	return "unknown"
}

// A Backend is the type byte of a message from a store.
type Backend byte

// The messages of a store.
const (
	BackendAuthentication           Backend = 'R'
	BackendBackendKeyData           Backend = 'K'
	BackendBindComplete             Backend = '2'
	BackendCloseComplete            Backend = '3'
	BackendCommandComplete          Backend = 'C'
	BackendCopyBothResponse         Backend = 'W'
	BackendCopyData                 Backend = 'd'
	BackendCopyDone                 Backend = 'c'
	BackendCopyInResponse           Backend = 'G'
	BackendCopyOutResponse          Backend = 'H'
	BackendDataRow                  Backend = 'D'
	BackendEmptyQueryResponse       Backend = 'I'
	BackendErrorResponse            Backend = 'E'
	BackendFunctionCallResponse     Backend = 'V'
	BackendNegotiateProtocolVersion Backend = 'v'
	BackendNoData                   Backend = 'n'
	BackendNoticeResponse           Backend = 'N'
	BackendNotificationResponse     Backend = 'A'
	BackendParameterDescription     Backend = 't'
	BackendParameterStatus          Backend = 'S'
	BackendParseComplete            Backend = '1'
	BackendPortalSuspended          Backend = 's'
	BackendReadyForQuery            Backend = 'Z'
	BackendRowDescription           Backend = 'T'
)

var backendNames = map[Backend]string{
	BackendAuthentication: "Authentication", BackendBackendKeyData: "BackendKeyData", BackendBindComplete: "BindComplete",
	BackendCloseComplete: "CloseComplete", BackendCommandComplete: "CommandComplete", BackendCopyBothResponse: "CopyBothResponse",
	BackendCopyData: "CopyData", BackendCopyDone: "CopyDone", BackendCopyInResponse: "CopyInResponse",
	BackendCopyOutResponse: "CopyOutResponse", BackendDataRow: "DataRow", BackendEmptyQueryResponse: "EmptyQueryResponse",
	BackendErrorResponse: "ErrorResponse", BackendFunctionCallResponse: "FunctionCallResponse",
	BackendNegotiateProtocolVersion: "NegotiateProtocolVersion", BackendNoData: "NoData", BackendNoticeResponse: "NoticeResponse",
	BackendNotificationResponse: "NotificationResponse", BackendParameterDescription: "ParameterDescription",
	BackendParameterStatus: "ParameterStatus", BackendParseComplete: "ParseComplete", BackendPortalSuspended: "PortalSuspended",
	BackendReadyForQuery: "ReadyForQuery", BackendRowDescription: "RowDescription",
}

// ParseBackend returns b as a Backend if a store may send it.
func ParseBackend(b byte) (Backend, error) {
	if _, ok := backendNames[Backend(b)]; !ok {
		return 0, refusal.New(refusal.Malformed, "pgwire: a store has no message %q", b)
	}
	return Backend(b), nil
}

func (b Backend) String() string {
	if name, ok := backendNames[b]; ok {
		return name
	}
	return "unknown"
}

// Encode appends the message of type b that has no body. It fails for a type
// that has one.
func (b Backend) Encode(dst []byte) ([]byte, error) {
	switch b {
	case BackendBindComplete, BackendCloseComplete, BackendCopyDone, BackendEmptyQueryResponse,
		BackendNoData, BackendParseComplete, BackendPortalSuspended:
		return append(dst, byte(b), 0, 0, 0, 4), nil
	default:
		return dst, refusal.New(refusal.Malformed, "pgwire: %v has a body", b)
	}
}
