// Package convo reads conversations from text files and plays them: user agents
// send what the text says through a real Kamailio to the real imcd, and each must
// get exactly what the text says and nothing else. The format is described in
// testdata/conversations/README.md.
package convo
