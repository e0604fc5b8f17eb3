package audit

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkAppend is one record made durable, with 64 writers waiting for
// theirs: what a statement pays. It says something on a real disk only.
func BenchmarkAppend(b *testing.B) {
	l := openDir(b, b.TempDir())
	var (
		left atomic.Int64
		wg   sync.WaitGroup
	)
	left.Store(int64(b.N))
	b.ResetTimer()
	for w := range 64 {
		wg.Go(func() {
			r := statement(id(byte(w)), strconv.Itoa(w))
			for left.Add(-1) >= 0 {
				receipt, err := l.Append(r)
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := receipt.Wait(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	closeLog(b, l)
}
