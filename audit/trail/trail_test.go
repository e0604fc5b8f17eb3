package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

var (
	log1 = tenant.FromUUID([16]byte{1})
	key1 = sha256.Sum256([]byte("key"))
)

func full() Record {
	return Record{
		Log: log1, Kind: Outcome, Of: Ref{log1, 7}, Time: time.UnixMicro(1_700_000_000_123_456).UTC(), Class: ClassStatement,
		Subject: "ann", Issuer: "https://idp.test", Txn: "t", Peer: "[::1]:9", Session: "s", Broker: "postgres",
		Operation: "Execute select", Verdict: "confine", Reason: "Denied", Detail: "because", Actors: []string{"bob"},
		Resources: []string{"a", "b"}, Text: []byte("select 1"), Digest: sha256.Sum256([]byte("select 1")), Cut: true,
		Result: Result{"ok", "00000", 1, 2, 3, 4, 5, -6, [][32]byte{{1}, {2}}},
	}
}

// unseal opens what Seal made, numbered.
func open(t testing.TB, sealed []byte, seq uint64) (Header, Record, error) {
	t.Helper()
	Number(sealed, seq, 5)
	h, err := ParseHeader(sealed[:HeaderSize])
	if err != nil {
		return h, Record{}, err
	}
	k, err := RecordKey(key1, h.Log, h.RID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Unseal(k, h, sealed[HeaderSize:])
	return h, r, err
}

func TestSealAndUnseal(t *testing.T) {
	for _, r := range []Record{
		full(),
		{Kind: System, Class: ClassBoot, Time: time.UnixMicro(0).UTC()},
		{Log: log1, Kind: Decision, Class: ClassTransaction, Time: time.UnixMicro(-1).UTC(), Digest: [32]byte{9}},
	} {
		sealed, err := Seal(key1, 3, r)
		if err != nil {
			t.Fatal(err)
		}
		h, got, err := open(t, sealed, 8)
		if err != nil || !reflect.DeepEqual(got, r) || h.KeyVersion != 3 || h.Seq != 8 || h.Commit != 5 {
			t.Errorf("%+v\n%+v\n%+v, %v", r, got, h, err)
		}
	}
}

// Every byte of a sealed record is bound to something.
func TestEveryFlippedByteOfARecord(t *testing.T) {
	sealed, err := Seal(key1, 3, full())
	if err != nil {
		t.Fatal(err)
	}
	Number(sealed, 8, 5)
	h, err := ParseHeader(sealed[:HeaderSize])
	if err != nil {
		t.Fatal(err)
	}
	k, err := RecordKey(key1, h.Log, h.RID)
	if err != nil {
		t.Fatal(err)
	}
	leaf := Leaf(sealed[:HeaderSize])
	for i := range sealed {
		for bit := range 8 {
			b := slices.Clone(sealed)
			b[i] ^= 1 << bit
			h, err := ParseHeader(b[:HeaderSize])
			if err != nil {
				continue
			}
			if _, err := Unseal(k, h, b[HeaderSize:]); err == nil && Leaf(b[:HeaderSize]) == leaf {
				t.Fatalf("bit %d of byte %d is bound to nothing", bit, i)
			}
		}
	}
	if _, err := Unseal(key1, h, sealed[HeaderSize:]); err == nil || !strings.Contains(err.Error(), "commits") {
		t.Errorf("another key: %v", err)
	}
}

// The additional data bind a payload to its log, kind and class even for who
// knows the record's key.
func TestAPayloadDoesNotMove(t *testing.T) {
	sealed, err := Seal(key1, 3, full())
	if err != nil {
		t.Fatal(err)
	}
	Number(sealed, 8, 5)
	h, err := ParseHeader(sealed[:HeaderSize])
	if err != nil {
		t.Fatal(err)
	}
	k, err := RecordKey(key1, h.Log, h.RID)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(*Header){
		"log":   func(h *Header) { h.Log = tenant.FromUUID([16]byte{2}) },
		"kind":  func(h *Header) { h.Kind, h.Of = Decision, None },
		"class": func(h *Header) { h.Class = ClassTransaction },
	} {
		moved := h
		do(&moved)
		if _, err := Unseal(k, moved, sealed[HeaderSize:]); err == nil {
			t.Errorf("moved to another %s", name)
		}
	}
}

// Whoever holds the log's key cannot seal what says that it is of another log,
// or put a ciphertext under a header with the hash of another.
func TestAPayloadIsTheHeaders(t *testing.T) {
	r := full()
	r.Log = tenant.FromUUID([16]byte{2})
	inner, err := encodePayload(&r)
	if err != nil {
		t.Fatal(err)
	}
	h := Header{Kind: Outcome, Class: ClassStatement, Log: log1, Seq: 8, Of: 7, Length: uint32(len(inner) + tagSize)}
	aead, err := aeadOf(key1)
	if err != nil {
		t.Fatal(err)
	}
	if h.Commitment, err = Commitment(key1); err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(nil, make([]byte, aead.NonceSize()), inner, additional(&h))
	h.Sum = sha256.Sum256(sealed)
	if _, err := Unseal(key1, h, sealed); err == nil || !strings.Contains(err.Error(), "sealed for log 02") {
		t.Error(err)
	}
	h.Sum[0] ^= 1
	if _, err := Unseal(key1, h, sealed); err == nil || !strings.Contains(err.Error(), "not the header's") {
		t.Error(err)
	}
}

func TestPayloadsHaveOneForm(t *testing.T) {
	log := "0150" + "01" + strings.Repeat("00", 15)
	for name, c := range map[string]struct {
		payload string
		ok      bool
	}{
		"control":          {"a3" + log + "0201" + "036161", true},
		"unknown key":      {"a3" + log + "0201" + "18636161", false},
		"negative key":     {"a3" + log + "0201" + "206161", false},
		"text key":         {"a3" + log + "0201" + "61336161", false},
		"other order":      {"a3" + log + "036161" + "0201", false},
		"twice":            {"a4" + log + "0201" + "036161" + "036162", false},
		"long integer":     {"a3" + log + "021801" + "036161", false},
		"long length":      {"a3" + log + "0201" + "03780161", false},
		"long key":         {"a3" + log + "0201" + "18036161", false},
		"float":            {"a3" + log + "02f93c00" + "036161", false},
		"tag":              {"a3" + log + "02c101" + "036161", false},
		"indefinite map":   {"bf" + log + "0201" + "036161" + "ff", false},
		"indefinite text":  {"a3" + log + "0201" + "037f6161ff", false},
		"empty field":      {"a3" + log + "0201" + "0360", false},
		"null":             {"a3" + log + "0201" + "03f6", false},
		"bytes for text":   {"a3" + log + "0201" + "034161", false},
		"not UTF-8":        {"a3" + log + "0201" + "0361ff", false},
		"nothing follows":  {"a3" + log + "0201" + "036161" + "00", false},
		"cut off":          {"a3" + log + "0201" + "0361", false},
		"no log":           {"a1" + "0201", false},
		"short log":        {"a2" + "014101" + "0201", false},
		"text, no digest":  {"a3" + log + "0201" + "0f4178", false},
		"another's digest": {"a4" + log + "0201" + "0f4178" + "105820" + strings.Repeat("01", 32), false},
		"short digest":     {"a3" + log + "0201" + "104101", false},
		"digest of zeros":  {"a3" + log + "0201" + "105820" + strings.Repeat("00", 32), false},
		"not cut":          {"a3" + log + "0201" + "11f4", false},
		"empty result":     {"a3" + log + "0201" + "12a0", false},
		"unknown result":   {"a3" + log + "0201" + "12a10a01", false},
		"short source":     {"a3" + log + "0201" + "12a1098141aa", false},
		"good result":      {"a3" + log + "0201" + "12a10301", true},
	} {
		b, err := hex.DecodeString(c.payload)
		if err != nil {
			t.Fatal(name, err)
		}
		if r, err := decodePayload(b); (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestFormatsDoNotChange(t *testing.T) {
	h := Header{
		Kind: Outcome, Class: ClassStatement, Log: log1, Seq: 9, Commit: 1_700_000_000_000, Of: 7, RID: [16]byte{2}, KeyVersion: 3,
		Length: 40, Sum: [32]byte{4}, Commitment: [32]byte{5},
	}
	b := h.AppendTo(nil)
	want := "4952" + "01" + "02" + "0201" + "01" + strings.Repeat("00", 15) + "0000000000000009" + "0000018bcfe56800" +
		"0000000000000007" + "02" + strings.Repeat("00", 15) + "00000003" + "00000028" + "04" + strings.Repeat("00", 31) +
		"05" + strings.Repeat("00", 31)
	if hex.EncodeToString(b) != want || len(b) != HeaderSize {
		t.Errorf("header\n%x\n%s", b, want)
	}
	k, err := RecordKey(key1, log1, [16]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Commitment(k)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Log: log1, Kind: Decision, Class: ClassStatement, Time: time.UnixMicro(1).UTC(), Subject: "ann", Text: []byte("x")}
	if r, err = r.bounded(); err != nil {
		t.Fatal(err)
	}
	p, err := encodePayload(&r)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	wantPayload := "a5" + "01" + "50" + "01" + strings.Repeat("00", 15) + "02" + "01" + "03" + "63616e6e" + "0f" + "4178" + "10" + "5820" + hex.EncodeToString(digest[:])
	if hex.EncodeToString(p) != wantPayload {
		t.Errorf("payload\n%x\n%s", p, wantPayload)
	}
	leaf := Leaf(b)
	for name, c := range map[string]struct {
		got  [32]byte
		want string
	}{
		"record key": {k, golden["record key"]}, "commitment": {c, golden["commitment"]}, "leaf": {leaf, golden["leaf"]},
	} {
		if hex.EncodeToString(c.got[:]) != c.want {
			t.Errorf("%s is %x", name, c.got)
		}
	}
}

func TestBounds(t *testing.T) {
	r := full()
	r.Operation = strings.Repeat("é", 500)
	r.Peer = "\xff\xfe"
	r.Text = bytes.Repeat([]byte("x"), MaxText+1)
	got, err := r.bounded()
	if err != nil {
		t.Fatal(err)
	}
	if got.Operation != strings.Repeat("é", 128) || got.Peer != "\uFFFD" || len(got.Text) != MaxText || got.Digest != sha256.Sum256(r.Text) || !got.Cut {
		t.Errorf("%+v", got)
	}
	for n := range 300 {
		r := Record{Operation: strings.Repeat("x", n) + "日本語"}
		got, err := r.bounded()
		if err != nil || len(got.Operation) > MaxOperation || got.Cut != (len(r.Operation) > MaxOperation) || !strings.HasPrefix(r.Operation, got.Operation) {
			t.Fatalf("%d: %q, %v", n, got.Operation, err)
		}
	}
	r = full()
	r.Result.Code = strings.Repeat("x", MaxName+1)
	if _, err := Seal(key1, 1, r); refusal.Of(err) != refusal.TooLarge {
		t.Error(err)
	}
}

func TestHeads(t *testing.T) {
	h := Head{Origin("a/b", log1), 12, [32]byte{1}}
	if again, err := ParseHead(h.String()); err != nil || again != h {
		t.Error(again, err)
	}
	for _, s := range []string{"", "a\n1\n", "a\n01\nAA==\n", h.String() + "\n", strings.TrimSuffix(h.String(), "\n"), "\n" + h.String()} {
		if got, err := ParseHead(s); err == nil {
			t.Errorf("%q is %+v", s, got)
		}
	}
	for s, ok := range map[string]bool{"a": true, "a.b/c": true, "": false, "/a": false, "a/": false, "a b": false, "a+b": false, "a\n": false, "é": false} {
		if err := CheckOrigin(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}
