package refusal

import (
	"errors"
	"fmt"
	"testing"
)

func TestEveryReasonHasANameAndAText(t *testing.T) {
	if len(Reasons) != len(texts) {
		t.Fatalf("%d reasons, %d texts", len(Reasons), len(texts))
	}
	for i, r := range Reasons {
		if int(r) != i || r.String() == "" || r.Text() == "" {
			t.Errorf("%d: %q, %q", i, r, r.Text())
		}
	}
	if Reason(200).Text() != Internal.Text() || Reason(200).String() != "Internal" {
		t.Error("an unknown Reason says more than Internal")
	}
}

func TestOf(t *testing.T) {
	cause := errors.New("disk full")
	err := fmt.Errorf("admit: %w", New(Unrecorded, "append: %w", cause))
	if Of(err) != Unrecorded || !errors.Is(err, cause) {
		t.Errorf("%v is %v", err, Of(err))
	}
	if Of(cause) != Internal || Of(nil) != Internal || HintOf(cause) != "" {
		t.Error("an unclassified cause is not Internal")
	}
	if HintOf(fmt.Errorf("x: %w", Hinted(Denied, "use INSERT", "copy"))) != "use INSERT" {
		t.Error("the hint is lost")
	}
}
