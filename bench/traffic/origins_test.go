//go:build linux

package traffic

import (
	"strings"
	"testing"
)

// Other lines and other fields are ignored.
func TestOriginsAreCounted(t *testing.T) {
	const text = `listening address=0.0.0.0:10001
accepted id=1 role=publisher resource=bench/s0 peer=127.0.0.1:50001 keylen=0
closed id=1 role=publisher resource=bench/s0 peer=127.0.0.1:50001 keylen=0 packets=90 bytes=9 unsent=0 lost=10 srt_packets=90 rtt_us=1500 ms=3000
closed id=2 role=publisher resource=bench/s1 peer=127.0.0.1:50001 keylen=0 packets=0 bytes=0 unsent=0 lost=0 srt_packets=101 rtt_us=500 ms=3000
`
	o := &origin{listening: make(chan struct{}), done: make(chan struct{})}
	o.read(strings.NewReader(text))
	<-o.listening
	<-o.done
	if want := (Counts{Sessions: 2, Data: 191, RTT: 2000}); o.counts != want {
		t.Errorf("%+v, want %+v", o.counts, want)
	}
}
