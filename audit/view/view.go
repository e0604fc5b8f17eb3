// Package view shows records to people and to other programs: as JSON, and as
// a line of text.
package view

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/isocore/isocore/audit/trail"
)

// A Record is one record as JSON has it. Times are UTC.
type Record struct {
	Log       string     `json:"log"`
	Seq       uint64     `json:"seq"`
	Recorded  time.Time  `json:"recorded"` // when it was made durable
	Kind      string     `json:"kind"`
	Class     string     `json:"class"`
	Of        *uint64    `json:"of,omitempty"` // the decision, of an outcome
	Leaf      string     `json:"leaf"`
	Time      *time.Time `json:"time,omitempty"` // when it happened; absent, as all below, if the record is closed
	Subject   string     `json:"subject,omitempty"`
	Issuer    string     `json:"issuer,omitempty"`
	Actors    []string   `json:"actors,omitempty"`
	Txn       string     `json:"txn,omitempty"`
	Peer      string     `json:"peer,omitempty"`
	Session   string     `json:"session,omitempty"`
	Broker    string     `json:"broker,omitempty"`
	Operation string     `json:"operation,omitempty"`
	Verdict   string     `json:"verdict,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	Resources []string   `json:"resources,omitempty"`
	Text      string     `json:"text,omitempty"`
	Digest    string     `json:"digest,omitempty"` // SHA-256 of all of the text

	Parameters []*string `json:"parameters,omitempty"`        // null is NULL; what is not text is in hexadecimal, behind \x
	Digests    []*string `json:"parameter_digests,omitempty"` // HMAC-SHA256 under the log's key; null is NULL

	Status   string `json:"status,omitempty"`
	Code     string `json:"code,omitempty"`
	Rows     int64  `json:"rows,omitempty"`
	BytesIn  int64  `json:"bytes_in,omitempty"`
	BytesOut int64  `json:"bytes_out,omitempty"`
	Micros   int64  `json:"micros,omitempty"`
}

// Of returns what is to be shown of o. A record whose payload was not opened
// shows its header alone.
func Of(o trail.Opened) Record {
	h := o.Header
	leaf := trail.Leaf(o.Raw)
	v := Record{
		Log: h.Log.String(), Seq: h.Seq, Recorded: h.Time(), Kind: h.Kind.String(), Class: h.Class.String(), Leaf: hex.EncodeToString(leaf[:]),
	}
	if h.Of != trail.None {
		v.Of = &h.Of
	}
	r := o.Record
	if r.Time.IsZero() {
		return v
	}
	at := r.Time.UTC()
	v.Time = &at
	v.Subject, v.Issuer, v.Actors, v.Txn, v.Peer, v.Session = r.Subject, r.Issuer, r.Actors, r.Txn, r.Peer, r.Session
	v.Broker, v.Operation, v.Verdict, v.Reason, v.Detail = r.Broker, r.Operation, r.Verdict, r.Reason, r.Detail
	v.Resources, v.Text = r.Resources, string(r.Text)
	if r.Digest != ([32]byte{}) {
		v.Digest = hex.EncodeToString(r.Digest[:])
	}
	v.Parameters, v.Digests = values(r.Parameters, spell), values(r.Digests, hex.EncodeToString)
	v.Status, v.Code = r.Result.Status, r.Result.Code
	v.Rows, v.BytesIn, v.BytesOut, v.Micros = r.Result.Rows, r.Result.BytesIn, r.Result.BytesOut, r.Result.Micros
	return v
}

// values spells parameters; nil is NULL.
func values(ps [][]byte, spell func([]byte) string) []*string {
	var out []*string
	for _, p := range ps {
		if p == nil {
			out = append(out, nil)
			continue
		}
		s := spell(p)
		out = append(out, &s)
	}
	return out
}

// spell returns a value as text if it is, else in hexadecimal.
func spell(p []byte) string {
	if utf8.Valid(p) && bytes.IndexByte(p, 0) < 0 {
		return string(p)
	}
	return `\x` + hex.EncodeToString(p)
}

// Line returns v as one line for a terminal. What a client wrote is made
// printable: a record must not move the cursor of who reads it.
func (v Record) Line() string {
	said := v.Verdict
	if said == "" || v.Kind == trail.Outcome.String() {
		said = v.Status
	}
	parts := []string{
		fmt.Sprintf("%6d", v.Seq), v.Recorded.Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf("%-8s", v.Kind),
		fmt.Sprintf("%-9s", said), v.Operation,
	}
	if v.Operation == "" {
		parts[4] = v.Class
	}
	for _, s := range []string{v.Subject, v.Reason, cut(v.Text)} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if v.Kind == trail.Outcome.String() {
		parts = append(parts, fmt.Sprintf("%s %d rows, %d us", v.Code, v.Rows, v.Micros))
	}
	if len(v.Resources) > 0 {
		parts = append(parts, strings.Join(v.Resources, " "))
	}
	return Printable(strings.Join(parts, "  "))
}

// maxLine is how much of a text is shown in a line.
const maxLine = 160

// cut returns the beginning of a text, and says if that is not all.
func cut(text string) string {
	runes := []rune(text)
	if len(runes) <= maxLine {
		return text
	}
	return fmt.Sprintf("%s... (%d characters)", string(runes[:maxLine]), len(runes))
}

// Printable returns s with every character that is not printable replaced.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return '\uFFFD'
		}
	}, s)
}
