package trail

// golden holds derived values computed by another implementation, in Python,
// from docs/records.md.
var golden = map[string]string{
	"record key": "a8a69cb99fca1a82ff51cec9b96984e1af054ccabf6fd57accd8a4a2506c0203",
	"commitment": "07f8926d035efeec74c49dd45281a6c070296fa3e024c1f1246333f97e79f265",
	"leaf":       "a528e06ff34fcd229996d411c51695d173ade95112a104bb7dcfacf0ea99930b",
}
