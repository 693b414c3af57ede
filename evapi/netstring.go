package evapi

import (
	"bufio"
	"io"
	"strconv"
)

// NetstringReader reads netstrings of a bounded size from a stream.
type NetstringReader struct {
	r   *bufio.Reader
	max int
}

// NewNetstringReader returns a reader that refuses payloads of more than max bytes.
func NewNetstringReader(r io.Reader, max int) *NetstringReader {
	return &NetstringReader{r: bufio.NewReader(r), max: max}
}

// Read returns the next payload, which is valid until the next call.
func (n *NetstringReader) Read() ([]byte, error) { return nil, io.EOF }

// ReadNetstring reads one netstring of at most max bytes.
func ReadNetstring(r *bufio.Reader, max int) ([]byte, error) { return nil, io.EOF }

// AppendNetstring appends payload to dst as a netstring.
func AppendNetstring(dst, payload []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	dst = append(dst, ':')
	dst = append(dst, payload...)
	return append(dst, ',')
}
