package pgwire

// Encode implements [Message].
func (m *ParameterStatus) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendParameterStatus))
	d.text(m.Name)
	d.text(m.Value)
	return d.done()
}

// Encode implements [Message].
func (m *BackendKeyData) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendBackendKeyData))
	d.uint32(m.PID)
	if n := m.Secret.Len(); n < 4 || n > maxSecret {
		d.fail("the secret has a wrong length")
	}
	d.bytes([]byte(m.Secret.Reveal()))
	return d.done()
}

// Encode implements [Message].
func (m *ReadyForQuery) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendReadyForQuery))
	if !m.Status.valid() {
		d.fail("an unknown status")
	}
	d.uint8(byte(m.Status))
	return d.done()
}

// Encode implements [Message].
func (m *CommandComplete) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendCommandComplete))
	d.text(m.Tag)
	return d.done()
}

// Encode implements [Message].
func (m *ParameterDescription) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendParameterDescription))
	d.count(len(m.Types))
	for _, t := range m.Types {
		d.uint32(t)
	}
	return d.done()
}

// Encode implements [Message].
func (m *RowDescription) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendRowDescription))
	d.count(len(m.Columns))
	for _, c := range m.Columns {
		d.text(c.Name)
		d.uint32(c.Table)
		d.uint16(c.Attribute)
		d.uint32(c.Type)
		d.uint16(uint16(c.Size))
		d.uint32(uint32(c.Modifier))
		d.uint16(uint16(c.Format))
	}
	return d.done()
}

// Encode implements [Message].
func (m *DataRow) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendDataRow))
	d.count(len(m.Values))
	for _, v := range m.Values {
		d.value(v)
	}
	return d.done()
}

// Encode implements [Message].
func (m *CopyResponse) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(m.Direction))
	switch m.Direction {
	case BackendCopyInResponse, BackendCopyOutResponse, BackendCopyBothResponse:
	default:
		d.fail("a COPY has no such direction")
	}
	d.uint8(byte(m.Format))
	d.formats(m.Columns)
	return d.done()
}

// Encode implements [Message].
func (m *NegotiateProtocolVersion) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(BackendNegotiateProtocolVersion))
	d.uint32(m.Newest)
	if len(m.Unrecognised) > maxParams {
		d.fail("too many settings")
	}
	d.uint32(uint32(len(m.Unrecognised)))
	for _, s := range m.Unrecognised {
		d.text(s)
	}
	return d.done()
}

// Encode implements [Message].
func (m *Opaque) Encode(dst []byte) ([]byte, error) {
	d := newDraft(dst, byte(m.Type))
	d.bytes(m.Body)
	return d.done()
}
