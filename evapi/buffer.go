package evapi

import "net"

// linkBuffer is asked for as the receive buffer of a link's socket, in bytes: responses to
// some thousands of copies. The kernel may grant less.
const linkBuffer = 4 << 20

// enlarge asks for the buffer, and logs once if there is less: what does not fit is sent
// again half a second later.
func (c *Conn) enlarge(conn *net.UDPConn, wanted int) {
	err := conn.SetReadBuffer(wanted)
	n := granted(conn)
	if err == nil && (n == 0 || n >= wanted) || c.toldBuffer {
		return
	}
	c.toldBuffer = true
	c.cfg.Log.Info().Err(err).Str("kamailio", c.cfg.Name).Int("wanted", wanted).Int("granted", n).
		Msg("the receive buffer for responses is smaller than it might be: net.core.rmem_max bounds it")
}
