package evapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ErrFraming is wrapped by every error about bytes that are no netstring of the
// allowed size. The stream cannot be trusted any more and must be closed.
var ErrFraming = errors.New("evapi: not a netstring")

// readBuffer holds many small events at once, so that a burst of results costs
// few system calls.
const readBuffer = 64 << 10

// NetstringReader reads netstrings of a bounded size from a stream. It is used
// by one goroutine.
type NetstringReader struct {
	br  *bufio.Reader
	max int
	buf []byte // payload and comma of the last netstring
}

// NewNetstringReader returns a reader that refuses payloads of more than max bytes.
func NewNetstringReader(r io.Reader, max int) *NetstringReader {
	return &NetstringReader{br: bufio.NewReaderSize(r, readBuffer), max: max}
}

// Read returns the next payload, which is valid until the next call. The error
// is io.EOF at the end of the stream between two netstrings,
// io.ErrUnexpectedEOF within one, wraps ErrFraming for wrong bytes, and is the
// stream's own otherwise.
func (n *NetstringReader) Read() ([]byte, error) {
	size, err := readLength(n.br, n.max)
	if err != nil {
		return nil, err
	}
	if cap(n.buf) < size+1 {
		n.buf = make([]byte, size+1)
	}
	return readPayload(n.br, n.buf[:size+1])
}

// ReadNetstring reads one netstring of at most max bytes into memory of its
// own. The errors are those of NetstringReader.Read.
func ReadNetstring(br *bufio.Reader, max int) ([]byte, error) {
	size, err := readLength(br, max)
	if err != nil {
		return nil, err
	}
	return readPayload(br, make([]byte, size+1))
}

// readLength reads the digits and the colon. It gives up at the first byte that
// makes the length wrong or larger than max: nothing has been allocated then.
func readLength(br *bufio.Reader, max int) (int, error) {
	size := 0
	for digits := 0; ; digits++ {
		b, err := br.ReadByte()
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
		if size > max {
			return 0, fmt.Errorf("%w: length is above %d", ErrFraming, max)
		}
	}
}

// readPayload fills buf, whose last byte must turn out to be the comma.
func readPayload(br *bufio.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(br, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	last := len(buf) - 1
	if buf[last] != ',' {
		return nil, fmt.Errorf("%w: %q in place of the comma after %d bytes", ErrFraming, buf[last], last)
	}
	return buf[:last], nil
}

// AppendNetstring appends payload to dst as a netstring.
func AppendNetstring(dst, payload []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	dst = append(dst, ':')
	dst = append(dst, payload...)
	return append(dst, ',')
}
