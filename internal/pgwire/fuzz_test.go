package pgwire

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/isocore/isocore/secret"
)

// Oracle: what is accepted is written again byte for byte.
func FuzzReadStartup(f *testing.F) {
	for _, m := range startups {
		f.Add(encode(f, m))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := reader(wire)
		m, err := r.ReadStartup(10000)
		if err != nil {
			return
		}
		if got := encode(t, m); !bytes.HasPrefix(wire, got) || len(got) > 10000 {
			t.Errorf("%q is read as %+v and written as %q", wire, m, got)
		}
	})
}

// Oracle: what is accepted is written again byte for byte, FunctionCall
// excepted, which is never written.
func FuzzDecodeFrontend(f *testing.F) {
	for _, m := range frontendMessages {
		f.Add(encode(f, m))
	}
	f.Add([]byte("F\x00\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		b, body, err := reader(wire).ReadMessage(1 << 16)
		if err != nil {
			return
		}
		m, err := DecodeFrontend(Frontend(b), body)
		if err != nil {
			return
		}
		got, err := m.Encode(nil)
		if m.Type() == FrontendFunctionCall {
			if err == nil {
				t.Error("a FunctionCall is written")
			}
			return
		}
		if err != nil || !bytes.Equal(got, wire[:5+len(body)]) {
			t.Errorf("%q is read as %+v and written as %q, %v", wire, m, got, err)
		}
	})
}

// Oracle: what is accepted is written again byte for byte; moving the position
// of an error by nothing changes nothing but the spelling of that number.
func FuzzDecodeBackend(f *testing.F) {
	for _, m := range backendMessages {
		f.Add(encode(f, m))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		b, body, err := reader(wire).ReadMessage(1 << 16)
		if err != nil {
			return
		}
		m, err := DecodeBackend(Backend(b), body)
		if err != nil {
			return
		}
		got, err := m.Encode(nil)
		if err != nil || !bytes.Equal(got, wire[:5+len(body)]) {
			t.Errorf("%q is read as %+v and written as %q, %v", wire, m, got, err)
		}
		if c, ok := m.(*CommandComplete); ok {
			if verb, rows := c.Count(); len(verb) > len(c.Tag) || rows < -1 {
				t.Errorf("%q counts as %q, %d", c.Tag, verb, rows)
			}
		}
		if e, ok := m.(*ErrorResponse); ok {
			same := e.WithPosition(func(n int) int { return n })
			if len(same) != len(e.Fields) {
				t.Errorf("%v became %v", e.Fields, same)
			}
		}
	})
}

// Oracle: header by header, and message by message, one stream has the same
// messages, whatever the size of the buffer.
func FuzzReader(f *testing.F) {
	f.Add(encode(f, Sync{}, &Query{Text: "select 1"}, &CopyData{Data: make([]byte, 200)}))
	f.Fuzz(func(t *testing.T, wire []byte) {
		whole := NewReader(bufio.NewReaderSize(bytes.NewReader(wire), 4096))
		parts := reader(wire)
		for {
			b, body, err := whole.ReadMessage(1000)
			h, herr := parts.ReadHeader(1000)
			var copied bytes.Buffer
			if herr == nil {
				herr = parts.CopyBody(&copied)
			}
			if (err == nil) != (herr == nil) {
				t.Fatalf("%q: %v and %v", wire, err, herr)
			}
			if err != nil {
				return
			}
			if h.Type != b || h.Len != len(body) || !bytes.Equal(copied.Bytes(), body) {
				t.Fatalf("%q: %q and %q", wire, body, copied.Bytes())
			}
		}
	})
}

// Oracle: no panic, and only the true end is accepted.
func FuzzSCRAM(f *testing.F) {
	f.Add(serverFirst, serverFinal)
	f.Add("r=,s=,i=", "e=")
	f.Fuzz(func(t *testing.T, first, final string) {
		s := newSCRAM("user", secret.New("pencil"), clientNonce)
		s.First()
		if _, err := s.Continue([]byte(first)); err != nil {
			return
		}
		if err := s.Finish([]byte(final)); err == nil && final != serverFinal {
			t.Errorf("%q, %q", first, final)
		}
	})
}
