package contest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// kamailioStats are the figures that bench.cfg tells in its answer to OPTIONS.
type kamailioStats struct {
	messages int64 // MESSAGE requests that came in, retransmissions included
	replies  int64 // responses that came in
	maxUsed  int64 // the most shared memory that was in use, in bytes
}

// askKamailio asks again until an answer comes or ctx ends: a Kamailio that is
// busy may lose the question.
func askKamailio(ctx context.Context, addr string) (kamailioStats, error) {
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		return kamailioStats{}, fmt.Errorf("ask Kamailio: %w", err)
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for try := 0; ctx.Err() == nil && try < 60; try++ {
		req := fmt.Sprintf("OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;rport;branch=z9hG4bKstats%[3]d\r\n"+
			"From: <sip:bench@%[1]s>;tag=s\r\nTo: <sip:%[1]s>\r\nCall-ID: stats%[3]d\r\nCSeq: %[3]d OPTIONS\r\n"+
			"Max-Forwards: 5\r\nContent-Length: 0\r\n\r\n", addr, conn.LocalAddr(), try+1)
		if _, err := conn.Write([]byte(req)); err != nil {
			return kamailioStats{}, fmt.Errorf("ask Kamailio: %w", err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			return kamailioStats{}, fmt.Errorf("ask Kamailio: %w", err)
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return kamailioStats{}, fmt.Errorf("ask Kamailio: %w", err)
		}
		var st kamailioStats
		if _, err := fmt.Sscanf(string(buf[:n]), "SIP/2.0 200 Figures %d %d %d\r\n", &st.messages, &st.replies,
			&st.maxUsed); err != nil {
			return st, fmt.Errorf("figures of Kamailio in %.60q: %w", buf[:n], err)
		}
		return st, nil
	}
	return kamailioStats{}, errors.Join(fmt.Errorf("no answer to OPTIONS from %s", addr), ctx.Err())
}
