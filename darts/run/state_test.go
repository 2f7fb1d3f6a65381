package run

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzParseRecord(f *testing.F) {
	text, err := record{Format: 1, Step: 3, MetricsBytes: 4, TensorsSHA256: "ab", State: []byte(`{"a":[1,"<é"]}`)}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
			return
		}
		encoded, err := r.encode()
		if err != nil {
			t.Fatalf("what was parsed does not encode: %v", err)
		}
		again, err := parseRecord(encoded)
		if err != nil {
			t.Fatalf("what was encoded does not parse: %v", err)
		}
		if got, err := again.encode(); err != nil || !bytes.Equal(got, encoded) {
			t.Errorf("got %s, %v, want %s", got, err, encoded)
		}
	})
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte(`{"layers":8,"data":"shapes"}`))
	f.Add([]byte(`{"layers":8.5} {}`))
	f.Add([]byte(`{"width":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var config testConfig
		if err := decodeStrict(text, &config); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("the error has more than one line: %q", err)
		}
	})
}
