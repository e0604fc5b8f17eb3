package pgwire

import (
	"slices"
	"strconv"
	"strings"
)

// A FieldCode says what a field of an ErrorResponse or NoticeResponse means.
type FieldCode byte

// The fields a broker reads or writes; all others are kept as they are.
const (
	FieldSeverity          FieldCode = 'S' // translated
	FieldSeverityInvariant FieldCode = 'V' // never translated
	FieldSQLState          FieldCode = 'C'
	FieldMessage           FieldCode = 'M'
	FieldDetail            FieldCode = 'D'
	FieldHint              FieldCode = 'H'
	FieldPosition          FieldCode = 'P' // in characters of the statement, from 1
)

// A Field is one field of an ErrorResponse or NoticeResponse.
type Field struct {
	Code  FieldCode
	Value string // any bytes but NUL
}

// Fields are what an ErrorResponse or NoticeResponse says, in order.
type Fields []Field

// An ErrorResponse says what went wrong.
type ErrorResponse struct{ Fields }

// A NoticeResponse says what went otherwise than expected.
type NoticeResponse struct{ Fields }

// NewError returns the answer that says message with severity (ERROR or FATAL)
// and SQLSTATE code; an empty hint is left out.
func NewError(severity, code, message, hint string) *ErrorResponse {
	fs := Fields{
		{FieldSeverity, severity},
		{FieldSeverityInvariant, severity},
		{FieldSQLState, code},
		{FieldMessage, message},
	}
	if hint != "" {
		fs = append(fs, Field{FieldHint, hint})
	}
	return &ErrorResponse{fs}
}

// Value returns the first field with the code, or "".
func (fs Fields) Value(code FieldCode) string {
	for _, f := range fs {
		if f.Code == code {
			return f.Value
		}
	}
	return ""
}

// WithPosition returns fs with the position that move makes of the store's, or
// without one if move returns less than 1. What is not a position, and
// everything else, stays byte for byte.
func (fs Fields) WithPosition(move func(int) int) Fields {
	i := slices.IndexFunc(fs, func(f Field) bool { return f.Code == FieldPosition })
	if i < 0 {
		return fs
	}
	n, err := strconv.Atoi(fs[i].Value)
	if err != nil || n < 1 {
		return fs
	}
	moved := slices.Clone(fs)
	if n = move(n); n < 1 {
		return slices.Delete(moved, i, i+1)
	}
	moved[i].Value = strconv.Itoa(n)
	return moved
}

func decodeFields(b *body) Fields {
	var fs Fields
	for b.err == nil {
		code := FieldCode(b.uint8())
		if code == 0 {
			break
		}
		fs = append(fs, Field{code, b.raw()})
	}
	return fs
}

func (fs Fields) encode(dst []byte, t Backend) ([]byte, error) {
	d := newDraft(dst, byte(t))
	for _, f := range fs {
		if f.Code == 0 {
			d.fail("a field has no code")
		}
		d.uint8(byte(f.Code))
		d.text(f.Value)
	}
	d.uint8(0)
	return d.done()
}

// Encode implements [Message].
func (m *ErrorResponse) Encode(dst []byte) ([]byte, error) {
	return m.encode(dst, BackendErrorResponse)
}

// Encode implements [Message].
func (m *NoticeResponse) Encode(dst []byte) ([]byte, error) {
	return m.encode(dst, BackendNoticeResponse)
}

// Count returns the words of the tag and the number of rows it ends with: of
// "INSERT 0 5", "INSERT" and 5. A tag without a number, as "CREATE TABLE", has
// -1 rows.
func (m *CommandComplete) Count() (verb string, rows int64) {
	verb, number, found := cutLast(m.Tag)
	if !found {
		return m.Tag, -1
	}
	rows, err := strconv.ParseInt(number, 10, 64)
	if err != nil || rows < 0 {
		return m.Tag, -1
	}
	// INSERT has the OID of times past before its number.
	if v, oid, ok := cutLast(verb); ok && v == "INSERT" && oid != "" {
		verb = v
	}
	return verb, rows
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
