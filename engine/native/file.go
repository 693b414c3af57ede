package native

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"

	"imcd/evapi/sipmsg"
)

// FileType is the media type of a document that names a file elsewhere, which is what Linphone sends for a file.
const FileType = "application/vnd.gsma.rcs-ft-http+xml"

// maxFile bounds such a document, in bytes. One of Linphone's has half a kilobyte.
const maxFile = 16 << 10

// File is a file that can be got elsewhere. What it says is its sender's, and not checked.
type File struct {
	Name, URL string
	Size      uint64 // bytes
}

// ReadFile reads which file a document names (GSMA RCC.07, 3.2.5.4); it is not the picture that stands for the file. A
// document type definition is an error.
func ReadFile(document []byte) (File, error) {
	var file struct {
		XMLName xml.Name `xml:"file"`
		Infos   []struct {
			Type string `xml:"type,attr"`
			Size uint64 `xml:"file-size"`
			Name string `xml:"file-name"`
			Data struct {
				URL string `xml:"url,attr"`
			} `xml:"data"`
		} `xml:"file-info"`
	}
	if len(document) > maxFile {
		return File{}, fmt.Errorf("reading a file: %w: %d bytes, limit is %d", ErrTooLarge, len(document), maxFile)
	}
	if err := sipmsg.WithoutDTD(xml.NewDecoder(bytes.NewReader(document))).Decode(&file); err != nil {
		return File{}, fmt.Errorf("reading a file: %w", err)
	}
	for _, info := range file.Infos {
		if info.Type == "file" && info.Data.URL != "" {
			return File{info.Name, info.Data.URL, info.Size}, nil
		}
	}
	return File{}, errors.New("reading a file: none is named")
}
