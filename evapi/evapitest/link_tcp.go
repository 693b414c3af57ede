package evapitest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// tcpMaxMessage bounds a message read from a TCP connection, in bytes.
const tcpMaxMessage = 1 << 20

// tcpWire is a TCP or TLS connection.
type tcpWire struct {
	net.Conn
	in *bufio.Reader
}

// openTCP opens a link by TCP, or by TLS if conf is not nil.
func openTCP(local, proxy string, conf *tls.Config, receive func([]byte)) (link, error) {
	return openStream(func() (wire, error) {
		var conn net.Conn
		var err error
		if conf == nil {
			conn, err = dialer(local).Dial("tcp", proxy)
		} else {
			conn, err = tls.DialWithDialer(dialer(local), "tcp", proxy, conf)
		}
		if err != nil {
			return nil, err
		}
		return tcpWire{conn, bufio.NewReaderSize(conn, 65536)}, nil
	}, receive)
}

func (w tcpWire) read() ([]byte, error) { return readMessage(w.in) }

func (w tcpWire) write(data []byte) error {
	_, err := w.Write(data)
	return err
}

// readMessage reads one SIP message from a stream, framed by Content-Length.
func readMessage(r *bufio.Reader) ([]byte, error) {
	var b bytes.Buffer
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if b.Len() == 0 && len(bytes.TrimSpace(line)) == 0 {
			continue // keep-alive between messages
		}
		b.Write(line)
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		if ok && isContentLength(name) {
			length, err = strconv.Atoi(strings.TrimSpace(value))
			if err != nil || length < 0 || length > tcpMaxMessage {
				return nil, fmt.Errorf("bad Content-Length %q", value)
			}
		}
		if b.Len() > tcpMaxMessage {
			return nil, fmt.Errorf("headers of more than %d bytes", tcpMaxMessage)
		}
	}
	if _, err := io.CopyN(&b, r, int64(length)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func isContentLength(name string) bool {
	name = strings.TrimSpace(name)
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "l")
}
