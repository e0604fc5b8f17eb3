package pgwire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

func reader(b []byte) *Reader { return NewReader(bufio.NewReaderSize(bytes.NewReader(b), 64)) }

func encode(t testing.TB, ms ...Message) []byte {
	t.Helper()
	var b []byte
	for _, m := range ms {
		var err error
		if b, err = m.Encode(b); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
	}
	return b
}

var startups = []Startup{
	SSLRequest{},
	GSSENCRequest{},
	&CancelRequest{PID: 7, Secret: secret.New("\x00\x01\x02\x03")},
	&CancelRequest{PID: math.MaxUint32, Secret: secret.New(strings.Repeat("\xff", maxSecret))},
	&StartupMessage{Version: Version30},
	&StartupMessage{Version: Version32, Params: []Param{{"user", "ann"}, {"database", "app"}, {"options", ""}, {"ü", "é"}}},
}

var frontendMessages = []FrontendMessage{
	&Parse{Name: "s1", Query: "select $1, '\xff'", ParamTypes: []uint32{23, 0}},
	&Parse{},
	&Bind{
		Portal: "p", Statement: "s1", ParamFormats: []Format{Binary}, Params: [][]byte{nil, {}, []byte("x\x00y")},
		ResultFormats: []Format{Text, Binary},
	},
	&Bind{ParamFormats: []Format{Text, Binary}, Params: [][]byte{{1}, {2}}},
	&Bind{},
	&Describe{Target: Statement, Name: "s1"},
	&Describe{Target: Portal},
	&Execute{Portal: "p", MaxRows: -1},
	&Close{Target: Portal, Name: "p"},
	&Query{Text: "select 1; select 2"},
	&Password{Password: secret.New("eyJ.x.y")},
	&CopyData{Data: []byte("1\tx\n")},
	&CopyData{},
	&CopyFail{Reason: "enough"},
	CopyDone{},
	Flush{},
	Sync{},
	Terminate{},
}

var backendMessages = []Message{
	&Authentication{Kind: AuthOK},
	&Authentication{Kind: AuthCleartext},
	&Authentication{Kind: AuthMD5, Salt: [4]byte{1, 2, 3, 4}},
	&Authentication{Kind: AuthSASL, Mechanisms: []string{"SCRAM-SHA-256-PLUS", SCRAMSHA256}},
	&Authentication{Kind: AuthSASLContinue, Data: []byte("r=x")},
	&Authentication{Kind: AuthSASLFinal, Data: []byte("v=x")},
	&ParameterStatus{Name: "client_encoding", Value: "UTF8"},
	&BackendKeyData{PID: 9, Secret: secret.New("abcd")},
	&ReadyForQuery{Status: Idle},
	&CommandComplete{Tag: "INSERT 0 5"},
	&ParameterDescription{Types: []uint32{23, 25}},
	&ParameterDescription{},
	&RowDescription{Columns: []Column{{"id", 1, 2, 23, 4, -1, Text}, {"b", 0, 0, 17, -1, -1, Binary}}},
	&RowDescription{},
	&DataRow{Values: [][]byte{nil, {}, []byte("x")}},
	&CopyResponse{Direction: BackendCopyInResponse, Format: Text, Columns: []Format{Text, Text}},
	&CopyResponse{Direction: BackendCopyOutResponse, Format: Binary},
	&NegotiateProtocolVersion{Newest: Version30, Unrecognised: []string{"_pq_.x"}},
	NewError("ERROR", "42501", "not permitted", "use INSERT"),
	&NoticeResponse{Fields{{FieldMessage, "\xff"}, {'?', ""}}},
	&Opaque{Type: BackendNotificationResponse, Body: []byte("abc")},
	&Opaque{Type: BackendParseComplete},
}

func TestStartupsAreReadAsWritten(t *testing.T) {
	for _, m := range startups {
		wire := encode(t, m)
		r := reader(append(wire, "rest"...))
		got, err := r.ReadStartup(10000)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, %v", m, got, err)
		}
		if rest, err := io.ReadAll(r.in); err != nil || string(rest) != "rest" {
			t.Errorf("%T: left %q, %v", m, rest, err)
		}
		if _, err := reader(wire).ReadStartup(len(wire) - 1); refusal.Of(err) != refusal.TooLarge {
			t.Errorf("%T over the limit: %v", m, err)
		}
		for n := range wire {
			if _, err := reader(wire[:n]).ReadStartup(10000); err == nil {
				t.Errorf("%T cut at %d is accepted", m, n)
			}
		}
	}
}

func TestStartupRefuses(t *testing.T) {
	many := "\x00\x03\x00\x00"
	for i := range maxParams + 1 {
		many += fmt.Sprintf("k%d\x00v\x00", i)
	}
	for name, body := range map[string]string{
		"nothing":             "",
		"version 2":           "\x00\x02\x00\x00user\x00a\x00\x00",
		"an unknown request":  "\x04\xd2\x16\x31",
		"no end":              "\x00\x03\x00\x00user\x00a\x00",
		"no value":            "\x00\x03\x00\x00user\x00",
		"bytes behind":        "\x00\x03\x00\x00user\x00a\x00\x00x",
		"a setting twice":     "\x00\x03\x00\x00user\x00a\x00user\x00b\x00\x00",
		"not UTF-8":           "\x00\x03\x00\x00user\x00\xff\x00\x00",
		"too many":            many + "\x00",
		"bytes behind SSL":    "\x04\xd2\x16\x2fx",
		"bytes behind GSSENC": "\x04\xd2\x16\x30x",
		"a short secret":      "\x04\xd2\x16\x2e\x00\x00\x00\x01abc",
		"a long secret":       "\x04\xd2\x16\x2e\x00\x00\x00\x01" + strings.Repeat("x", maxSecret+1),
	} {
		wire := append([]byte{0, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...)
		if m, err := reader(wire).ReadStartup(10000); refusal.Of(err) != refusal.Malformed || m != nil {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestFrontendMessagesAreReadAsWritten(t *testing.T) {
	for _, m := range frontendMessages {
		wire := encode(t, m)
		for _, r := range []*Reader{reader(wire), NewReader(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(wire))))} {
			b, body, err := r.ReadMessage(1000)
			if err != nil {
				t.Fatalf("%T: %v", m, err)
			}
			typ, err := ParseFrontend(b)
			if err != nil || typ != m.Type() || typ.String() == "unknown" {
				t.Fatalf("%T: %v, %v", m, typ, err)
			}
			got, err := DecodeFrontend(typ, body)
			if err != nil || !bytes.Equal(encode(t, got), wire) || fmt.Sprint(got) != fmt.Sprint(m) {
				t.Errorf("%T: got %+v, %v", m, got, err)
			}
		}
		strict(t, m.Type().String(), wire, func(p []byte) error {
			_, err := DecodeFrontend(m.Type(), p)
			return err
		})
	}
}

func TestBackendMessagesAreReadAsWritten(t *testing.T) {
	for _, m := range backendMessages {
		wire := encode(t, m)
		b, body, err := reader(wire).ReadMessage(1000)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		typ, err := ParseBackend(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBackend(typ, body)
		if err != nil || !bytes.Equal(encode(t, got), wire) {
			t.Errorf("%T: got %+v, %v", m, got, err)
		}
		strict(t, typ.String(), wire, func(p []byte) error {
			_, err := DecodeBackend(typ, p)
			return err
		})
	}
}

// strict checks that every truncation of a body and every byte behind it is
// refused, where the body has a structure.
func strict(t *testing.T, name string, wire []byte, decode func([]byte) error) {
	t.Helper()
	switch name {
	case "CopyData", "NotificationResponse", "BackendKeyData":
		return
	case "Authentication":
		if kind := AuthKind(wire[8]); kind == AuthSASLContinue || kind == AuthSASLFinal {
			return
		}
	}
	body := wire[5:]
	for n := range body {
		if err := decode(body[:n]); refusal.Of(err) != refusal.Malformed {
			t.Errorf("%s cut at %d: %v", name, n, err)
		}
	}
	if err := decode(append(bytes.Clone(body), 'x')); refusal.Of(err) != refusal.Malformed {
		t.Errorf("%s with a byte behind it: %v", name, err)
	}
}

func TestDecodeFrontendRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		typ  Frontend
		body string
	}{
		"an unknown type":            {'?', ""},
		"a name that is not UTF-8":   {FrontendDescribe, "S\xff\x00"},
		"neither S nor P":            {FrontendClose, "X\x00"},
		"counts more than it holds":  {FrontendParse, "\x00\x00\xff\xff"},
		"more parameters than bytes": {FrontendBind, "\x00\x00\x00\x00\xff\xff"},
		"a negative length":          {FrontendBind, "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00"},
		"a length beyond the end":    {FrontendBind, "\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00"},
		"an unknown format":          {FrontendBind, "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02"},
		"formats for others":         {FrontendBind, "\x00\x00\x00\x02\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\x00\x00"},
		"NUL in a query":             {FrontendQuery, "select\x001\x00"},
	} {
		if m, err := DecodeFrontend(c.typ, []byte(c.body)); refusal.Of(err) != refusal.Malformed || m != nil {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	m, err := DecodeFrontend(FrontendFunctionCall, []byte("anything"))
	if err != nil || m.Type() != FrontendFunctionCall {
		t.Errorf("FunctionCall: %v, %v", m, err)
	}
	if b, err := m.Encode([]byte("x")); err == nil || string(b) != "x" {
		t.Errorf("a FunctionCall is written: %q", b)
	}
}

func TestDecodedDoesNotReferToTheBuffer(t *testing.T) {
	for _, m := range frontendMessages {
		wire := encode(t, m)
		body := bytes.Clone(wire[5:])
		got, err := DecodeFrontend(m.Type(), body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range body {
			body[i] ^= 0xff
		}
		if !bytes.Equal(encode(t, got), wire) {
			t.Errorf("%T changed with its buffer", m)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, m := range []Message{
		&Parse{Name: "a\x00b"},
		&Parse{Query: "a\x00b"},
		&Parse{ParamTypes: make([]uint32, math.MaxUint16+1)},
		&Describe{},
		&Close{Target: 'x'},
		&ReadyForQuery{},
		&BackendKeyData{Secret: secret.New("abc")},
		&CancelRequest{},
		&StartupMessage{Params: []Param{{"", "x"}}},
		&StartupMessage{Params: make([]Param, maxParams+1)},
		&Authentication{Kind: AuthSASL},
		&Authentication{Kind: AuthSASL, Mechanisms: []string{""}},
		&Authentication{Kind: 7},
		&CopyResponse{Direction: BackendDataRow},
		&NegotiateProtocolVersion{Unrecognised: make([]string, maxParams+1)},
		&ErrorResponse{Fields{{0, "x"}}},
		BackendDataRow,
		Header{Len: -1},
	} {
		if b, err := m.Encode([]byte("before")); err == nil || string(b) != "before" {
			t.Errorf("%+v: %q, %v", m, b, err)
		}
	}
}

func TestTypes(t *testing.T) {
	fronts, backs := 0, 0
	for i := range 256 {
		b := byte(i)
		if f, err := ParseFrontend(b); err == nil {
			fronts++
			if byte(f) != b || f.String() == "unknown" {
				t.Errorf("%q is %v", b, f)
			}
		}
		if k, err := ParseBackend(b); err == nil {
			backs++
			if byte(k) != b || k.String() == "unknown" {
				t.Errorf("%q is %v", b, k)
			}
		}
	}
	if fronts != 14 || backs != 24 || Frontend('?').String() != "unknown" || Backend('?').String() != "unknown" {
		t.Errorf("%d and %d types", fronts, backs)
	}
	if b, err := BackendParseComplete.Encode(nil); err != nil || string(b) != "1\x00\x00\x00\x04" {
		t.Errorf("ParseComplete: %q, %v", b, err)
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	for _, m := range []Message{
		&Password{secret.New("hunter2")},
		&BackendKeyData{Secret: secret.New("hunter2")},
		&CancelRequest{Secret: secret.New("hunter2")},
	} {
		if s := fmt.Sprintf("%v %+v %#v", m, m, m); strings.Contains(s, "hunter2") {
			t.Error(s)
		}
	}
}
