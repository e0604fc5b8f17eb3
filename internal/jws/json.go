package jws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var errDate = errors.New("jws: a date is a whole number of seconds after 1970 and before the year 10000")

// Decode reads one JSON object into the struct that into points at. A member
// the struct does not have is refused, as are a member named twice, a null,
// another case, invalid UTF-8, more than one value, and what is too deep or
// too long.
func Decode(doc []byte, into any) error {
	if err := strict(doc, maxLength); err != nil {
		return err
	}
	return json.Unmarshal(doc, into, json.RejectUnknownMembers(true))
}

// DecodeOpen is [Decode] for objects others wrote: members the struct does
// not have are passed over. All else that Decode refuses stays refused.
func DecodeOpen(doc []byte, into any) error {
	if err := strict(doc, maxLength); err != nil {
		return err
	}
	return json.Unmarshal(doc, into)
}

// strict walks doc once before anything is made of it. Duplicate names and
// invalid UTF-8, lone surrogates included, are the decoder's own errors; what
// follows the first value is an error of [json.Unmarshal].
// A null is refused because it decodes as if it were missing.
func strict(doc []byte, length int64) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(doc))
	if d.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not strict JSON: %w", err)
		}
		depth := d.StackDepth()
		kind, n := d.StackIndex(depth)
		if kind == '{' {
			n /= 2 // the decoder counts a name and its value apart
		}
		if depth > maxDepth || n > length {
			return errors.New("too deep or too long")
		}
		if token.Kind() == 'n' {
			return errors.New("a null")
		}
	}
}

// A Date is a NumericDate of RFC 7519, held to whole seconds. The zero Date is
// none: no JSON decodes to it.
type Date int64

// endOfDates is the first second of the year 10000.
const endOfDates = 253402300800

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. Digits are the only
// spelling: no sign, fraction, exponent or string.
func (t *Date) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil || n == 0 || n >= endOfDates {
		return errDate
	}
	*t = Date(n)
	return nil
}
