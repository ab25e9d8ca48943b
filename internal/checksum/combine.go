package checksum

import "encoding/binary"

// Combinable reports whether the checksum of a whole follows from those of its parts.
func (a Algorithm) Combinable() bool { return a == CRC32 || a == CRC32C || a == CRC64NVME }

// Combine is the checksum of two pieces of data from the checksum of each and the length of
// the second, for a Combinable algorithm.
//
// A CRC is linear over the polynomials with coefficients of 0 and 1: that of the first piece
// followed by n zero bytes is its CRC times x^8n, modulo the CRC's polynomial, and the second
// piece's CRC adds itself.
func Combine(a Algorithm, first, second []byte, length int64) []byte {
	width, poly := 32, uint64(0xedb88320)
	switch a {
	case CRC32C:
		poly = 0x82f63b78
	case CRC64NVME:
		width, poly = 64, 0x9a6c9329ac4bc9b5
	}
	sum := multiply(load(first), power(uint64(length)*8, poly, width), poly, width) ^ load(second)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], sum)
	return b[8-width/8:]
}

func load(sum []byte) (n uint64) {
	for _, b := range sum {
		n = n<<8 | uint64(b)
	}
	return n
}

// multiply is x times y modulo the polynomial, all of them reflected: the highest bit is
// the coefficient of x^0.
func multiply(x, y, poly uint64, width int) (product uint64) {
	top := uint64(1) << (width - 1)
	for ; x != 0; x = x << 1 & (top<<1 - 1) {
		if x&top != 0 {
			product ^= y
		}
		if y&1 != 0 {
			y = y>>1 ^ poly
		} else {
			y >>= 1
		}
	}
	return product
}

// power is x^n modulo the polynomial.
func power(n, poly uint64, width int) uint64 {
	top := uint64(1) << (width - 1)
	result, base := top, top>>1
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = multiply(result, base, poly, width)
		}
		base = multiply(base, base, poly, width)
	}
	return result
}
