package mailtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

// OddCertificate is a server's certificate that crypto/tls ends a handshake for,
// before anybody can judge it. Appliances and old authorities make such.
type OddCertificate struct {
	Name   string
	Reason string // what crypto/x509 or crypto/tls says
	Bare   bool   // nothing can be read of it
	tls.Certificate
}

// OddHolder and OddIssuer are the common names in a certificate of
// OddCertificates.
const (
	OddHolder = "odd.test"
	OddIssuer = "Odd CA"
)

// tbs is a TBSCertificate whose fields can be given any content (RFC 5280,
// section 4.1).
type tbs struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   struct{ NotBefore, NotAfter asn1.RawValue }
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Extensions []pkix.Extension `asn1:"optional,explicit,tag:3"`
}

// OddCertificates are certificates of every kind that is refused so.
func OddCertificates(t testing.TB) []OddCertificate {
	t.Helper()
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	must := func(v any) []byte {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	printable := func(text string) asn1.RawValue { // whatever it holds
		value := asn1.RawValue{Tag: asn1.TagPrintableString, Bytes: []byte(text)}
		attribute := must(struct {
			ID    asn1.ObjectIdentifier
			Value asn1.RawValue
		}{asn1.ObjectIdentifier{2, 5, 4, 3}, value})
		set := must(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attribute})
		return asn1.RawValue{FullBytes: must(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: set})}
	}
	extension := func(last int, critical bool, value []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, last}, Critical: critical, Value: value}
	}
	alternative := func(tag int, value string) pkix.Extension {
		return extension(17, false, must([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}}))
	}
	key := func(algorithm, parameters asn1.ObjectIdentifier, point []byte) asn1.RawValue {
		id := pkix.AlgorithmIdentifier{Algorithm: algorithm}
		if parameters != nil {
			id.Parameters.FullBytes = must(parameters)
		}
		return asn1.RawValue{FullBytes: must(struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}{id, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})}
	}
	ecPublicKey := asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	now := time.Now().UTC()
	plain := func() *tbs {
		spki, err := x509.MarshalPKIXPublicKey(own.Public())
		if err != nil {
			t.Fatal(err)
		}
		c := &tbs{
			Version: 2, Serial: big.NewInt(5), Signature: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
			Issuer: printable(OddIssuer), Subject: printable(OddHolder), PublicKey: asn1.RawValue{FullBytes: spki},
			Extensions: []pkix.Extension{alternative(2, OddHolder)},
		}
		c.Validity.NotBefore.FullBytes, c.Validity.NotAfter.FullBytes = must(now.Add(-time.Hour)), must(now.AddDate(1, 0, 0))
		return c
	}
	var all []OddCertificate
	add := func(name, reason string, bare bool, der []byte) {
		all = append(all, OddCertificate{name, reason, bare, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}})
	}
	signed := func(change func(*tbs)) []byte {
		c := plain()
		change(c)
		body := must(*c)
		digest := sha256.Sum256(body)
		signature, err := ecdsa.SignASN1(rand.Reader, ca, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return must(struct {
			Body      asn1.RawValue
			Algorithm pkix.AlgorithmIdentifier
			Signature asn1.BitString
		}{asn1.RawValue{FullBytes: body}, plain().Signature, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	}
	for _, odd := range []struct {
		name, reason string
		change       func(*tbs)
	}{
		{"a negative serial number", "negative serial number", func(c *tbs) { c.Serial.SetInt64(-5) }},
		{"a version that does not exist", "invalid version", func(c *tbs) { c.Version = 7 }},
		{"a subject with marks that its type does not have", "invalid PrintableString", func(c *tbs) { c.Subject = printable("odd_test@home") }},
		{"an extension twice", "duplicate extension", func(c *tbs) { c.Extensions = append(c.Extensions, c.Extensions...) }},
		{"a name that is not ASCII", "SAN dNSName is malformed", func(c *tbs) { c.Extensions = []pkix.Extension{alternative(2, "m\xfcller.test")} }},
		{"a URI that is none", "cannot parse URI", func(c *tbs) { c.Extensions = append(c.Extensions[:0], alternative(6, "https://a b:c/%zz")) }},
		{"an address of three bytes", "cannot parse IP address of length 3", func(c *tbs) { c.Extensions = []pkix.Extension{alternative(7, "\x7f\x00\x01")} }},
		{"an address as text", "cannot parse IP address of length 9", func(c *tbs) { c.Extensions = []pkix.Extension{alternative(7, "127.0.0.1")} }},
		{"a basic constraint that is none", "invalid basic constraints", func(c *tbs) { c.Extensions = append(c.Extensions, extension(19, true, []byte{1, 1, 255})) }},
		{"a key identifier that is critical", "incorrectly marked critical", func(c *tbs) { c.Extensions = append(c.Extensions, extension(14, true, []byte{4, 1, 7})) }},
		{"a time of no month", "malformed UTCTime", func(c *tbs) {
			c.Validity.NotBefore = asn1.RawValue{Tag: asn1.TagUTCTime, Bytes: []byte("261301000000Z")}
		}},
		{"a time that is an integer", "unsupported time format", func(c *tbs) { c.Validity.NotAfter = asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{1}} }},
		{"an unknown curve", "unsupported elliptic curve", func(c *tbs) {
			c.PublicKey = key(ecPublicKey, asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}, make([]byte, 65)) // brainpoolP256r1
		}},
		{"a curve without a name", "invalid ECDSA parameters", func(c *tbs) { c.PublicKey = key(ecPublicKey, nil, make([]byte, 65)) }},
		{"a point that is on no curve", "point not on curve", func(c *tbs) {
			c.PublicKey = key(ecPublicKey, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, append([]byte{4}, bytes.Repeat([]byte{7}, 64)...))
		}},
		{"a negative RSA modulus", "RSA modulus is not a positive number", func(c *tbs) {
			c.PublicKey = rsaKey(must, big.NewInt(-77), 65537)
		}},
		{"a negative RSA exponent", "RSA public exponent is not a positive number", func(c *tbs) {
			c.PublicKey = rsaKey(must, big.NewInt(77), -3)
		}},
		{"a key of an unknown algorithm", "unsupported type of public key", func(c *tbs) {
			c.PublicKey = key(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, nil, []byte{1}) // RSASSA-PSS
		}},
		{"a key that cannot sign", "unsupported type of public key", func(c *tbs) {
			c.PublicKey = key(asn1.ObjectIdentifier{1, 3, 101, 110}, nil, bytes.Repeat([]byte{9}, 32)) // X25519
		}},
		{"an RSA key that is too long", "RSA key larger than 8192 bits", func(c *tbs) {
			c.PublicKey = rsaKey(must, new(big.Int).Lsh(big.NewInt(1), 9000), 65537)
		}},
	} {
		add(odd.name, odd.reason, false, signed(odd.change))
	}
	whole := signed(func(*tbs) {})
	add("bytes behind its end", "trailing data", false, append(bytes.Clone(whole), 0))
	add("another algorithm outside than inside", "inner and outer signature algorithm", false, bytes.Replace(whole, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}, 1))
	add("cut off", "malformed certificate", true, whole[:len(whole)/2])
	add("no certificate at all", "malformed certificate", true, []byte("-----BEGIN CERTIFICATE-----\x1b[2J"))
	return all
}

// rsaKey is a SubjectPublicKeyInfo with these numbers.
func rsaKey(must func(any) []byte, modulus *big.Int, exponent int) asn1.RawValue {
	numbers := must(struct {
		N *big.Int
		E int
	}{modulus, exponent})
	return asn1.RawValue{FullBytes: must(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: numbers, BitLength: 8 * len(numbers)},
	})}
}
