package trail

import (
	"bytes"
	"testing"
)

func FuzzHeader(f *testing.F) {
	sealed, err := Seal(key1, 3, full())
	if err != nil {
		f.Fatal(err)
	}
	Number(sealed, 8, 5)
	f.Add(sealed[:HeaderSize])
	f.Add(Header{Kind: System, Class: ClassBoot, Of: None, Length: 17}.AppendTo(nil))
	f.Add([]byte("IR"))
	// Oracle: what ParseHeader accepts, AppendTo writes again.
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err == nil && !bytes.Equal(h.AppendTo(nil), b) {
			t.Errorf("%x is %+v", b, h)
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, r := range []Record{full(), {}, {Log: log1, Digest: [32]byte{1}}} {
		b, err := encodePayload(&r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xa0})
	f.Add([]byte{0xbf, 0xff})
	// Oracle: what decodePayload accepts, encodePayload writes again; and it is
	// bounded by what was read.
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodePayload(b)
		if err != nil {
			return
		}
		again, err := encodePayload(&r)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is %+v, encoded as %x, %v", b, r, again, err)
		}
	})
}

func FuzzBatch(f *testing.F) {
	sealed, err := Seal(key1, 3, full())
	if err != nil {
		f.Fatal(err)
	}
	Number(sealed, 8, 5)
	body := AppendRecord(AppendRecord(nil, sealed), sealed[:HeaderSize])
	b, err := NewBatch(1, 2, [32]byte{3}, append(make([]byte, FrameSize), body...))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Frame, body)
	f.Add([]byte{}, []byte{})
	// Oracle: what ParseBatch accepts, NewBatch frames again; the records that
	// CutRecord takes off, AppendRecord puts back.
	f.Fuzz(func(t *testing.T, frame, body []byte) {
		if b, err := ParseBatch(frame); err == nil {
			again, err := NewBatch(b.Shard, b.No, b.Prev, bytes.Clone(frame))
			if err != nil || !bytes.Equal(again.Frame, frame) {
				t.Errorf("%x is framed as %x, %v", frame, again.Frame, err)
			}
		}
		var again []byte
		rest := body
		for len(rest) > 0 {
			s, after, err := CutRecord(rest)
			if err != nil {
				break
			}
			again = AppendRecord(again, append(bytes.Clone(s.Raw), s.Ciphertext...))
			rest = after
		}
		if !bytes.Equal(again, body[:len(body)-len(rest)]) {
			t.Errorf("%x is cut into %x", body, again)
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Add(Head{Origin("a/b", log1), 12, [32]byte{1}}.String())
	f.Add("a\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	// Oracle: what ParseHead accepts, String writes again.
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := ParseHead(s); err == nil && h.String() != s {
			t.Errorf("%q is %+v", s, h)
		}
	})
}
