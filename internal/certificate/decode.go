package certificate

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// decode reads what crypto/x509 refuses, field by field (RFC 5280, section 4.1),
// up to the first that is not even there.
func decode(der []byte) Certificate {
	c := Certificate{Raw: der}
	var certificate, tbs, validity cryptobyte.String
	var issuer, subject cryptobyte.String
	input := cryptobyte.String(der)
	if !input.ReadASN1(&certificate, tags.SEQUENCE) || !certificate.ReadASN1(&tbs, tags.SEQUENCE) ||
		!tbs.SkipOptionalASN1(version) || !tbs.SkipASN1(tags.INTEGER) || !tbs.SkipASN1(tags.SEQUENCE) || // serial number, signature
		!tbs.ReadASN1(&issuer, tags.SEQUENCE) {
		return c
	}
	c.Issuer = name(issuer)
	if !tbs.ReadASN1(&validity, tags.SEQUENCE) {
		return c
	}
	c.NotBefore, c.NotAfter = moment(&validity), moment(&validity)
	if !tbs.ReadASN1(&subject, tags.SEQUENCE) {
		return c
	}
	c.Subject = name(subject)
	var wrapped, extensions cryptobyte.String
	if !tbs.SkipASN1(tags.SEQUENCE) || // public key
		!tbs.SkipOptionalASN1(issuerID) || !tbs.SkipOptionalASN1(subjectID) ||
		!tbs.ReadASN1(&wrapped, extensionsTag) || !wrapped.ReadASN1(&extensions, tags.SEQUENCE) {
		return c
	}
	c.extend(extensions)
	return c
}

// Fields of a certificate that are told apart by their tags.
var (
	version       = tags.Tag(0).ContextSpecific().Constructed()
	issuerID      = tags.Tag(1).ContextSpecific()
	subjectID     = tags.Tag(2).ContextSpecific()
	extensionsTag = tags.Tag(3).ContextSpecific().Constructed()
)

// Extensions that are read.
var (
	subjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	basicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// extend reads the extensions.
func (c *Certificate) extend(extensions cryptobyte.String) {
	for !extensions.Empty() {
		var extension, value, inner cryptobyte.String
		var id asn1.ObjectIdentifier
		if !extensions.ReadASN1(&extension, tags.SEQUENCE) {
			return
		}
		if !extension.ReadASN1ObjectIdentifier(&id) || !extension.SkipOptionalASN1(tags.BOOLEAN) || // critical
			!extension.ReadASN1(&value, tags.OCTET_STRING) || !value.ReadASN1(&inner, tags.SEQUENCE) {
			continue
		}
		switch {
		case id.Equal(subjectAltName):
			c.Names = append(c.Names, alternatives(inner)...)
		case id.Equal(basicConstraints):
			var authority bool
			c.Authority = c.Authority || inner.ReadASN1Boolean(&authority) && authority
		}
	}
}

// alternatives are the DNS names and addresses among the names of a SAN.
func alternatives(all cryptobyte.String) (names []string) {
	for !all.Empty() {
		var value cryptobyte.String
		var tag tags.Tag
		if !all.ReadAnyASN1(&value, &tag) {
			return names
		}
		switch tag {
		case tags.Tag(2).ContextSpecific():
			names = append(names, clean(string(value)))
		case tags.Tag(7).ContextSpecific():
			if ip, ok := netip.AddrFromSlice(value); ok {
				names = append(names, ip.String())
			} else {
				names = append(names, "0x"+hex.EncodeToString(value))
			}
		}
	}
	return names
}

// name is a distinguished name.
func name(rdns cryptobyte.String) string {
	var sequence pkix.RDNSequence
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, tags.SET) {
			break
		}
		var rdn pkix.RelativeDistinguishedNameSET
		for !set.Empty() {
			var attribute, value cryptobyte.String
			var id asn1.ObjectIdentifier
			var tag tags.Tag
			if !set.ReadASN1(&attribute, tags.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) || !attribute.ReadAnyASN1(&value, &tag) {
				break
			}
			rdn = append(rdn, pkix.AttributeTypeAndValue{Type: id, Value: text(tag, value)})
		}
		if len(rdn) > 0 {
			sequence = append(sequence, rdn)
		}
	}
	return clean(sequence.String())
}

// text is a string of any type.
func text(tag tags.Tag, value []byte) string {
	if tag != tags.Tag(asn1.TagBMPString) {
		return string(value)
	}
	units := make([]uint16, len(value)/2)
	for i := range units {
		units[i] = uint16(value[2*i])<<8 | uint16(value[2*i+1])
	}
	return string(utf16.Decode(units))
}

// moments are the ways in which times are written: those of RFC 5280, section
// 4.1.2.5, and what else was seen.
var moments = map[tags.Tag][]string{
	tags.UTCTime:         {"060102150405Z0700", "0601021504Z0700", "060102150405"},
	tags.GeneralizedTime: {"20060102150405Z0700", "200601021504Z0700", "20060102150405"},
}

// moment takes a time off s; zero where it cannot be read.
func moment(s *cryptobyte.String) time.Time {
	var value cryptobyte.String
	var tag tags.Tag
	if !s.ReadAnyASN1(&value, &tag) {
		return time.Time{}
	}
	for _, layout := range moments[tag] {
		t, err := time.Parse(layout, strings.TrimSpace(string(value)))
		if err != nil {
			continue
		}
		if tag == tags.UTCTime && t.Year() >= 2050 {
			t = t.AddDate(-100, 0, 0)
		}
		return t.UTC()
	}
	return time.Time{}
}
