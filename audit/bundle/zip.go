package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A member is one file of a bundle.
type member struct {
	name string
	crc  uint32
	size int64
	data io.Reader
}

const (
	localSize = 30
	jan1980   = 1<<5 | 1 // as MS-DOS counts
	zipNeeds  = 20
	maxZip    = 1<<32 - 1
)

func bytesMember(name string, b []byte) member {
	return member{name, crc32.ChecksumIEEE(b), int64(len(b)), bytes.NewReader(b)}
}

// common is what a local header and a directory entry both say of m.
func (m *member) common(dst []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint16{zipNeeds, 0, 0, 0, jan1980} { // version, flags, stored, time, date
		dst = le.AppendUint16(dst, v)
	}
	dst = le.AppendUint32(dst, m.crc)
	dst = le.AppendUint32(dst, uint32(m.size))
	dst = le.AppendUint32(dst, uint32(m.size))
	dst = le.AppendUint16(dst, uint16(len(m.name)))
	return le.AppendUint16(dst, 0) // no extra field
}

func (m *member) local() []byte {
	return append(m.common([]byte("PK\x03\x04")), m.name...)
}

// directory returns what follows the data of ms.
func directory(ms []member) []byte {
	le, b, at := binary.LittleEndian, []byte(nil), int64(0)
	for i := range ms {
		m := &ms[i]
		b = m.common(le.AppendUint16(append(b, "PK\x01\x02"...), zipNeeds))
		b = append(b, make([]byte, 2+2+2+4)...) // no comment, disk 0, no attributes
		b = append(le.AppendUint32(b, uint32(at)), m.name...)
		at += int64(localSize+len(m.name)) + m.size
	}
	n, size := uint16(len(ms)), uint32(len(b))
	b = append(b, "PK\x05\x06\x00\x00\x00\x00"...)
	b = le.AppendUint16(le.AppendUint16(b, n), n)
	b = le.AppendUint32(le.AppendUint32(b, size), uint32(at))
	return le.AppendUint16(b, 0)
}

// writeZip writes ms as the one zip file they can be: stored, in their order,
// of 1 January 1980, with no extra fields, data descriptors or comments.
func writeZip(w io.Writer, ms []member) error {
	total := int64(0)
	for i := range ms {
		total += localSize + int64(len(ms[i].name)) + ms[i].size
	}
	dir := directory(ms)
	if total+int64(len(dir)) > maxZip {
		return fmt.Errorf("bundle: %d bytes do not fit into a bundle; export a smaller window", total)
	}
	for i := range ms {
		if _, err := w.Write(ms[i].local()); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		n, err := io.Copy(w, ms[i].data)
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if n != ms[i].size {
			return fmt.Errorf("bundle: %s has %d bytes, not %d", ms[i].name, n, ms[i].size)
		}
	}
	if _, err := w.Write(dir); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

var errZip = errors.New("bundle: not a bundle, or one that was changed")

// readZip is the inverse of writeZip: it returns the members of r if writeZip
// would write exactly r from them.
func readZip(r io.ReaderAt, size int64) (map[string]*io.SectionReader, error) {
	if size > maxZip {
		return nil, errZip
	}
	parts := make(map[string]*io.SectionReader)
	var ms []member
	at, buf := int64(0), make([]byte, 64<<10)
	for _, names := range [][]string{
		{guideName}, {headName}, {keysSealed, keysOpen}, {manifestName}, {policyName}, {proofName}, {recordsName},
	} {
		m, err := readMember(r, at, size, names)
		if err != nil {
			return nil, err
		}
		data := io.NewSectionReader(r, at+int64(localSize+len(m.name)), m.size)
		crc := crc32.NewIEEE()
		if _, err := io.CopyBuffer(crc, data, buf); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		if crc.Sum32() != m.crc {
			return nil, fmt.Errorf("bundle: %s was changed: %w", m.name, errZip)
		}
		at += int64(localSize+len(m.name)) + m.size
		parts[m.name] = data
		ms = append(ms, m)
	}
	want := directory(ms)
	if size-at != int64(len(want)) {
		return nil, errZip
	}
	got := make([]byte, len(want))
	if _, err := r.ReadAt(got, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if !bytes.Equal(got, want) {
		return nil, errZip
	}
	return parts, nil
}

// readMember returns the member at at, which must be called one of names.
func readMember(r io.ReaderAt, at, size int64, names []string) (member, error) {
	for _, name := range names {
		b := make([]byte, localSize+len(name))
		if at+int64(len(b)) > size {
			continue
		}
		if _, err := r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return member{}, fmt.Errorf("bundle: %w", err)
		}
		m := member{name: name, crc: binary.LittleEndian.Uint32(b[14:]), size: int64(binary.LittleEndian.Uint32(b[18:]))}
		if bytes.Equal(b, m.local()) && m.size <= size-at-int64(len(b)) {
			return m, nil
		}
	}
	return member{}, fmt.Errorf("bundle: %s is not where it should be: %w", names[0], errZip)
}
