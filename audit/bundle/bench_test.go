package bundle

import "testing"

// BenchmarkVerify verifies a bundle of 100,000 records, payloads included.
func BenchmarkVerify(b *testing.B) {
	l := newLog(b, 100_000)
	x := export(b, l, Export{})
	o := Options{Policy: policy(b)}
	b.SetBytes(int64(len(x)))
	b.ReportMetric(float64(len(x)), "bundle-bytes")
	for b.Loop() {
		r, err := verify(x, o)
		if err != nil || len(r.leaves) != 100_000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
