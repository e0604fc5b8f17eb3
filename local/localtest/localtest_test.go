package localtest_test

import (
	"testing"

	"github.com/isocore/isocore/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func TestDatabasesAreFresh(t *testing.T) {
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := localtest.Super(t, localtest.Database(t))
			if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (id int)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
