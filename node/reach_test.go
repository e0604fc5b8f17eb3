package node

import (
	"testing"

	"github.com/isocore/isocore/config"
)

// A route that stays as it is keeps its connections: whoever is at it, an
// upload in progress, say, does not notice a reload.
func TestRoutesKeepTheirWay(t *testing.T) {
	up := config.Upstream{Addr: "127.0.0.1:1"}
	route := config.Route{Host: "a.test", Path: "/", Upstream: up, Reach: []string{"http"}, Answer: config.Duration(1e9), Idle: config.Duration(1e9), Connections: 2}
	other := route
	other.Body = 7
	before, err := reach(&config.Edge{Routes: map[string]config.Route{"same": route, "other": route, "gone": route}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := reach(&config.Edge{Routes: map[string]config.Route{"same": route, "other": other, "new": route}}, before)
	if err != nil {
		t.Fatal(err)
	}
	if after["same"].route.Upstream != before["same"].route.Upstream {
		t.Error("a route that stays as it is gets another way")
	}
	come, changed := without(after, before)
	gone, left := without(before, after)
	if len(come) != 2 || len(gone) != 2 || changed[0] != "new" || changed[1] != "other" || left[0] != "gone" || left[1] != "other" {
		t.Errorf("come %v, gone %v", changed, left)
	}
	if _, err := reach(&config.Edge{Routes: map[string]config.Route{"bad": {Reach: []string{"PG"}, Upstream: up}}}, nil); err == nil {
		t.Error("a route that is wrong is taken")
	}
}
