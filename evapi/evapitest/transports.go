package evapitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"time"
)

// WithWebSocket lets Kamailio take SIP over WebSocket (RFC 7118) on that port of
// 127.0.0.1, as its documentation proposes. It needs Debian's
// kamailio-websocket-modules.
func (o Options) WithWebSocket(port int) Options {
	o.IMCLocal += fmt.Sprintf(`listen=tcp:127.0.0.1:%d
tcp_accept_no_cl=yes
loadmodule "xhttp.so"
loadmodule "websocket.so"
event_route[xhttp:request] {
	set_reply_close();
	set_reply_no_connect();
	if ($hdr(Upgrade)=~"websocket" && $hdr(Connection)=~"Upgrade" && $rm=~"GET") {
		ws_handle_handshake();
		exit;
	}
	xhttp_reply("404", "Not found", "", "");
}
`, port)
	return o
}

// The files in Kamailio's directory that WithTLS writes; the first is for clients, too.
const (
	TLSCertificate = "tls.crt"
	TLSKey         = "tls.key"
)

// WithTLS lets Kamailio take SIP over TLS on that port of 127.0.0.1, with a
// certificate of its own for 127.0.0.1, localhost and domain. It needs Debian's
// kamailio-tls-modules.
func (o Options) WithTLS(port int, domain string) (Options, error) {
	cert, key, err := certificate(domain)
	if err != nil {
		return o, fmt.Errorf("certificate of %s: %w", domain, err)
	}
	files := maps.Clone(o.Files)
	if files == nil {
		files = make(map[string]string)
	}
	files[TLSCertificate], files[TLSKey] = cert, key
	o.Files = files
	o.IMCLocal += fmt.Sprintf(`enable_tls=yes
listen=tls:127.0.0.1:%d
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "./%s")
modparam("tls", "private_key", "./%s")
`, port, TLSCertificate, TLSKey)
	return o, nil
}

// certificate makes a key and a certificate that signs itself, in PEM.
func certificate(domain string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: domain},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		// Mbed TLS looks for addresses among the names.
		DNSNames:    []string{domain, "localhost", "127.0.0.1"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	pemOf := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", pkcs8), nil
}
