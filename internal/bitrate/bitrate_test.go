package bitrate

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"20Mbps": 20e6, "20mbps": 20e6, "2.5Mbps": 2.5e6, "800kbps": 800e3, "1Gbps": 1e9, "64bps": 64, "0.5kbps": 500,
		"1000Gbps": 1e12, "1001Gbps": 0, "20": 0, "": 0, "Mbps": 0, "20MBps": 0, "20 Mbps": 0, "-1Mbps": 0, "1e3Mbps": 0,
		".5Mbps": 0, "5.Mbps": 0, "+5Mbps": 0, "0Mbps": 0, "0.1bps": 0, "20MB/s": 0, "infMbps": 0, "1_0Mbps": 0, "0x1Mbps": 0, "1.2.3Mbps": 0,
	} {
		if got, err := Parse(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for bits, want := range map[int64]string{
		0: "0bps", 64: "64bps", 1000: "1kbps", 1500: "1.5kbps", 20e6: "20Mbps", 100e6: "100Mbps", 1234567: "1.235Mbps", 1e12: "1000Gbps", 10: "10bps",
	} {
		if got := Format(bits); got != want {
			t.Errorf("%d: %s, want %s", bits, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"20Mbps", "2.5Gbps", "1", "", "0.0000001kbps", "99999999999999999999999Mbps"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bits, err := Parse(text)
		if err != nil {
			return
		}
		if bits < 1 || bits > Max {
			t.Fatalf("%q: %d", text, bits)
		}
		again, err := Parse(Format(bits))
		if err != nil || again < bits-bits/1000-1 || again > bits+bits/1000+1 {
			t.Fatalf("%q: %d, then %s, %d, %v", text, bits, Format(bits), again, err)
		}
	})
}
