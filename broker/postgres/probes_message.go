package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// A turnOf is what is sent, and what is due.
type turnOf struct {
	ask  []pgwire.Message
	want func(*act) replies
}

// The answers that have no fields.
var (
	parseDone = spoken{byte(pgwire.BackendParseComplete), ""}
	bindDone  = spoken{byte(pgwire.BackendBindComplete), ""}
	closeDone = spoken{byte(pgwire.BackendCloseComplete), ""}
	noData    = spoken{byte(pgwire.BackendNoData), ""}
	emptyDone = spoken{byte(pgwire.BackendEmptyQueryResponse), ""}
)

func exactly(s ...spoken) func(*act) replies { return func(*act) replies { return s } }

// conversations are what is sent to try the messages that touch no tenant's
// data, or prepare to: every byte of their answers is known beforehand.
var conversations = map[string][]turnOf{
	"Parse": {
		{[]pgwire.Message{&pgwire.Parse{Name: "p", Query: "SELECT body FROM " + canaryTable}, pgwire.Sync{}}, exactly(parseDone, idle)},
		{[]pgwire.Message{&pgwire.Parse{Query: "SELECT 1"}, pgwire.Sync{}}, exactly(parseDone, idle)},
	},
	"Describe statement": {
		{[]pgwire.Message{&pgwire.Parse{Name: "p", Query: "SELECT 1"}, pgwire.Sync{}}, exactly(parseDone, idle)},
		{
			[]pgwire.Message{&pgwire.Describe{Target: pgwire.Statement, Name: "p"}, pgwire.Sync{}},
			exactly(replies{{'t', "\x00\x00"}, columnOne, idle}...),
		},
	},
	"Close": {
		{[]pgwire.Message{&pgwire.Close{Target: pgwire.Statement, Name: "none"}, pgwire.Sync{}}, exactly(closeDone, idle)},
		{[]pgwire.Message{&pgwire.Close{Target: pgwire.Portal}, pgwire.Sync{}}, exactly(closeDone, idle)},
	},
	"Flush": {
		{[]pgwire.Message{pgwire.Flush{}, pgwire.Flush{}, pgwire.Sync{}}, exactly(idle)},
	},
	"Sync": {
		{[]pgwire.Message{pgwire.Sync{}, pgwire.Sync{}, pgwire.Sync{}}, exactly(idle, idle, idle)},
	},
	"Execute empty": {
		{[]pgwire.Message{&pgwire.Query{Text: " -- nothing"}}, exactly(emptyDone, idle)},
		{
			[]pgwire.Message{&pgwire.Parse{}, &pgwire.Bind{}, &pgwire.Describe{Target: pgwire.Portal}, &pgwire.Execute{}, pgwire.Sync{}},
			exactly(parseDone, bindDone, noData, emptyDone, idle),
		},
	},
	"Refusal": {
		{[]pgwire.Message{&pgwire.Query{Text: samples["Execute explain"]}}, theRefusal("Execute explain")},
		{[]pgwire.Message{&pgwire.Bind{Statement: "none"}, pgwire.Sync{}}, fault26000},
	},
	"Open": {
		{[]pgwire.Message{&pgwire.Query{Text: "BEGIN"}, &pgwire.Parse{Name: "p", Query: "SELECT body FROM " + canaryTable + " ORDER BY id"}, pgwire.Flush{}, pgwire.Sync{}}, nil},
		{[]pgwire.Message{&pgwire.Bind{Statement: "p"}, &pgwire.Execute{}, pgwire.Sync{}, &pgwire.Query{Text: "COMMIT"}}, nil},
	},
	"Bind write": {
		{[]pgwire.Message{&pgwire.Query{Text: "BEGIN"}}, nil},
		{
			[]pgwire.Message{
				&pgwire.Parse{Query: "UPDATE " + canaryTable + " SET body = body WHERE body >= $1 AND id >= {own} AND id < {own} + 1000 RETURNING body"},
				&pgwire.Bind{Portal: "q", Params: [][]byte{{}}}, &pgwire.Execute{Portal: "q", MaxRows: 1}, &pgwire.Execute{Portal: "q"},
				pgwire.Sync{},
			}, nil,
		},
		{[]pgwire.Message{&pgwire.Query{Text: "ROLLBACK"}}, nil},
	},
	"Bind": {
		{[]pgwire.Message{&pgwire.Parse{Name: "p", Query: "SELECT body FROM " + canaryTable + " WHERE body >= $1 ORDER BY id"}, pgwire.Sync{}}, exactly(parseDone, idle)},
		{[]pgwire.Message{&pgwire.Bind{Portal: "q", Statement: "p", Params: [][]byte{{}}}, pgwire.Flush{}}, nil},
		{[]pgwire.Message{&pgwire.Execute{Portal: "q"}, pgwire.Sync{}}, nil},
	},
}

// columnOne is the description of the column of SELECT 1.
var columnOne = spoken{byte(pgwire.BackendRowDescription), "\x00\x01?column?\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00"}

func theRefusal(row string) func(*act) replies {
	words := refused(row)
	return func(*act) replies { return replies{words("ERROR"), idle} }
}

func fault26000(*act) replies { return replies{noStatement("none").spoken("ERROR"), idle} }

// converse compares answers with what is due. Where that is not said, B's
// canary must not be in them.
func (c *act) converse(row string, turns []turnOf) (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	for _, t := range turns {
		got, err := c.a.ask(c.fill(t.ask)...)
		if err != nil {
			return nil, err
		}
		if f := c.leaks(row, row, got); f != nil {
			return f, nil
		}
		if t.want == nil {
			continue
		}
		if f := c.differs(row, row, got, t.want(c)); f != nil {
			return f, nil
		}
	}
	after, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	return c.differs(row, "a read after "+row, after, own), nil
}

// fill writes the first of the act's ids for {own}.
func (c *act) fill(ms []pgwire.Message) []pgwire.Message {
	filled := slices.Clone(ms)
	for i, m := range filled {
		if p, ok := m.(*pgwire.Parse); ok {
			its := *p
			its.Query = strings.ReplaceAll(p.Query, "{own}", fmt.Sprint(c.id))
			filled[i] = &its
		}
	}
	return filled
}

// greetings compares what A hears when it is let in with what B hears.
func (c *act) greetings() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	key := func(h spoken) bool { return pgwire.Backend(h.kind) == pgwire.BackendBackendKeyData }
	mine, others := slices.DeleteFunc(slices.Clone(c.a.greeting), key), slices.DeleteFunc(slices.Clone(b.greeting), key)
	for _, h := range mine {
		switch pgwire.Backend(h.kind) {
		case pgwire.BackendAuthentication, pgwire.BackendParameterStatus, pgwire.BackendReadyForQuery:
		default:
			f := &prove.Finding{Row: Name + "/Startup", Got: "a greeting with " + replies{h}.String(), Want: "parameters alone", Evidence: replies{h}.String()}
			if leak := c.leaks("Startup", "a greeting", c.a.greeting); leak != nil {
				f = leak
			}
			return f, nil
		}
	}
	return c.differs("Startup", "a greeting", mine, others), nil
}
