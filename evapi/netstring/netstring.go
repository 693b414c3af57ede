// Package netstring reads and writes netstrings: LENGTH:BYTES, with the length in decimal
// and a comma at the end.
package netstring

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ErrFraming is wrapped by every error about bytes that are no netstring of the allowed
// size. The stream cannot be trusted any more and must be closed.
var ErrFraming = errors.New("not a netstring")

// readBuffer holds many small netstrings at once, so that a burst of them costs few
// system calls.
const readBuffer = 64 << 10

// Reader reads netstrings of a bounded size from a stream. It is used by one goroutine.
type Reader struct {
	br  *bufio.Reader
	max int
	buf []byte // payload and comma of the last netstring
}

// NewReader returns a reader that refuses payloads of more than max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, readBuffer), max: max}
}

// Read returns the next payload, which is valid until the next call. The error is io.EOF
// at the end of the stream between two netstrings, io.ErrUnexpectedEOF within one, wraps
// ErrFraming for wrong bytes, and is the stream's own otherwise.
func (n *Reader) Read() ([]byte, error) {
	size, err := n.readLength()
	if err != nil {
		return nil, err
	}
	if cap(n.buf) < size+1 {
		n.buf = make([]byte, size+1)
	}
	buf := n.buf[:size+1]
	if _, err := io.ReadFull(n.br, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if buf[size] != ',' {
		return nil, fmt.Errorf("%w: %q in place of the comma after %d bytes", ErrFraming, buf[size], size)
	}
	return buf[:size], nil
}

// readLength reads the digits and the colon. It gives up at the first byte that makes the
// length wrong or larger than max: nothing has been allocated then.
func (n *Reader) readLength() (int, error) {
	size := 0
	for digits := 0; ; digits++ {
		b, err := n.br.ReadByte()
		if err != nil {
			if digits > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		switch {
		case b == ':' && digits > 0:
			return size, nil
		case b < '0' || b > '9':
			return 0, fmt.Errorf("%w: byte %q in the length", ErrFraming, b)
		case digits > 0 && size == 0:
			return 0, fmt.Errorf("%w: leading zero in the length", ErrFraming)
		}
		size = size*10 + int(b-'0')
		if size > n.max {
			return 0, fmt.Errorf("%w: length is above %d", ErrFraming, n.max)
		}
	}
}

// Append appends payload to dst as a netstring.
func Append(dst, payload []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	dst = append(dst, ':')
	dst = append(dst, payload...)
	return append(dst, ',')
}
