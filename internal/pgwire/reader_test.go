package pgwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isocore/isocore/refusal"
)

func TestReaderTakesOneMessage(t *testing.T) {
	big := &CopyData{Data: bytes.Repeat([]byte("0123456789"), 10_000)}
	wire := encode(t, Sync{}, big, &Query{Text: "select 1"}, Flush{})
	r := reader(append(wire, "SSL"...))
	for _, want := range []Message{Sync{}, big, &Query{Text: "select 1"}, Flush{}} {
		b, body, err := r.ReadMessage(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeFrontend(Frontend(b), body)
		if err != nil || !bytes.Equal(encode(t, m), encode(t, want)) {
			t.Errorf("got %.50v, %v", m, err)
		}
	}
	if r.Buffered() != 3 {
		t.Errorf("%d bytes buffered", r.Buffered())
	}
	if _, _, err := r.ReadMessage(10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("within a message: %v", err)
	}
	if _, _, err := reader(nil).ReadMessage(10); !errors.Is(err, io.EOF) {
		t.Errorf("between messages: %v", err)
	}
}

func TestReaderLimits(t *testing.T) {
	for wire, want := range map[string]refusal.Reason{
		"Q\x00\x00\x00\x00":     refusal.Malformed,
		"Q\x00\x00\x00\x03":     refusal.Malformed,
		"Q\xff\xff\xff\xff":     refusal.Malformed,
		"Q\x80\x00\x00\x00":     refusal.Malformed,
		"Q\x7f\xff\xff\xff":     refusal.TooLarge,
		"Q\x00\x00\x00\x0fabcd": refusal.TooLarge,
	} {
		if _, _, err := reader([]byte(wire)).ReadMessage(10); refusal.Of(err) != want {
			t.Errorf("%q: %v", wire, err)
		}
	}
	if _, _, err := reader([]byte("Q\x00\x00\x00\x0e0123456789")).ReadMessage(10); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

// A length of a gibibyte with a few bytes behind it must cost a few bytes.
func TestLengthsAllocateNothing(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	in := io.MultiReader(strings.NewReader("d\x40\x00\x00\x00"), bytes.NewReader(make([]byte, 100_000)))
	_, _, err := NewReader(bufio.NewReader(in)).ReadMessage(1 << 30)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("%d bytes allocated for 100,000", n)
	}
}

func TestHeaderThenBody(t *testing.T) {
	row := &DataRow{Values: [][]byte{bytes.Repeat([]byte("x"), 5000)}}
	wire := encode(t, row, row, row, &ReadyForQuery{Status: Idle})
	r := NewReader(bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(wire)), 64))
	var out bytes.Buffer
	header := func() Header {
		h, err := r.ReadHeader(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		b, err := h.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		return h
	}
	if h := header(); h.Type != byte(BackendDataRow) {
		t.Errorf("%+v", h)
	}
	if _, err := r.ReadHeader(1 << 20); !errors.Is(err, errUnread) {
		t.Errorf("a header before the body was read: %v", err)
	}
	if err := r.CopyBody(&out); err != nil {
		t.Fatal(err)
	}
	header()
	body, err := r.Body()
	if err != nil {
		t.Fatal(err)
	}
	out.Write(body)
	if h, err := r.ReadHeader(1 << 20); err != nil || h.Len != len(body) {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := r.DropBody(); err != nil {
		t.Fatal(err)
	}
	header()
	if err := r.CopyBody(&out); err != nil {
		t.Fatal(err)
	}
	if want := encode(t, row, row, &ReadyForQuery{Status: Idle}); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes, not the %d written", out.Len(), len(want))
	}
	cut := NewReader(bufio.NewReader(bytes.NewReader(wire[:100])))
	if _, err := cut.ReadHeader(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := cut.CopyBody(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body cut short: %v", err)
	}
}
