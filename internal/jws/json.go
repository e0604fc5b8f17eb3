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

// DecodeOpen is [Decode] for objects others wrote, who say nothing by a null
// and list the groups somebody is in: members the struct does not have are
// passed over, nulls are taken, and so are up to 1024 members or elements. All
// else that Decode refuses stays refused. A null may decode as if it were
// missing: what is made use of has to be [Plain].
func DecodeOpen(doc []byte, into any) error {
	if err := object(doc); err != nil {
		return err
	}
	if _, err := walk(doc, maxOpen); err != nil {
		return err
	}
	return json.Unmarshal(doc, into)
}

// Plain returns an error for a value that [Decode] would refuse in an object,
// whatever the struct: for a null in it, or a list that is too long.
func Plain(value []byte) error { return plain(value, maxLength) }

// strict walks doc once before anything is made of it. Duplicate names and
// invalid UTF-8, lone surrogates included, are the decoder's own errors; what
// follows the first value is an error of [json.Unmarshal].
// A null is refused because it decodes as if it were missing.
func strict(doc []byte, length int64) error {
	if err := object(doc); err != nil {
		return err
	}
	return plain(doc, length)
}

func object(doc []byte) error {
	if jsontext.NewDecoder(bytes.NewBuffer(doc)).PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	return nil
}

func plain(value []byte, length int64) error {
	null, err := walk(value, length)
	if err == nil && null {
		err = errors.New("a null")
	}
	return err
}

// walk reports whether there is a null anywhere in doc.
func walk(doc []byte, length int64) (null bool, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(doc))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return null, nil
		}
		if err != nil {
			return null, fmt.Errorf("not strict JSON: %w", err)
		}
		depth := d.StackDepth()
		kind, n := d.StackIndex(depth)
		if kind == '{' {
			n /= 2 // the decoder counts a name and its value apart
		}
		if depth > maxDepth || n > length {
			return null, errors.New("too deep or too long")
		}
		null = null || token.Kind() == 'n'
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
