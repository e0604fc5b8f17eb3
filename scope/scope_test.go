package scope

import (
	"testing"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
)

type request string

func (r request) Operations() []Operation { return []Operation{{Name: string(r)}} }

func confine(request, int, Scope) error { return nil }

func TestTheZeroSaysNo(t *testing.T) {
	var rule Rule[request]
	if rule.Verdict != Deny || rule.Effect != Write || Verdict(9).String() != "deny" || Effect(9).String() != "write" {
		t.Error("the zero rule permits something")
	}
	if s := Of(identity.Principal{}); !s.Tenant().IsZero() {
		t.Error("nobody has a tenant")
	}
	if _, err := (Table[request]{}).Rule("GET"); refusal.Of(err) != refusal.Unlisted {
		t.Errorf("an unlisted operation: %v", err)
	}
}

func TestCheck(t *testing.T) {
	good := Table[request]{
		"PING":  {Verdict: Allow, Why: "carries no data"},
		"GET":   {Verdict: Confine, Needs: "read", Why: "the key is prefixed", Confine: confine},
		"FLUSH": {Why: "erases every tenant"},
	}
	if errs := good.Check(); errs != nil {
		t.Error(errs)
	}
	if rows := good.Rows("x"); len(rows) != 3 || rows[0].Name != "FLUSH" || rows[1].Verdict != Confine {
		t.Errorf("rows: %v", rows)
	}
	for name, r := range map[string]Rule[request]{
		"no reason":        {},
		"no function":      {Verdict: Confine, Needs: "x", Why: "x"},
		"no reach":         {Verdict: Confine, Why: "x", Confine: confine},
		"allow that does":  {Verdict: Allow, Why: "x", Confine: confine},
		"allow that needs": {Verdict: Allow, Why: "x", Needs: "x"},
		"no such verdict":  {Verdict: 9, Why: "x"},
		"":                 {Why: "x"},
	} {
		if errs := (Table[request]{name: r}).Check(); len(errs) == 0 {
			t.Errorf("%s: nothing is wrong with %+v", name, r)
		}
	}
}
