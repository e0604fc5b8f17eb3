package jws

import "math/big"

// rocaPrimes are the odd ones among the first 39 primes. All moduli that the
// library of CVE-2017-15361 drew, of any size, are powers of 65537 modulo each.
var rocaPrimes = [...]int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71,
	73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// roca reports whether n has the mark of that library, whose keys can be
// factored (Nemec and others, "The Return of Coppersmith's Attack", 2017). A
// sound modulus has it with a probability under 2^-60.
func roca(n *big.Int) bool {
	var rest big.Int
	for _, p := range rocaPrimes {
		if !isPower(rest.Mod(n, big.NewInt(p)).Int64(), 65537%p, p) {
			return false
		}
	}
	return true
}

// isPower reports whether n is a power of base modulo p.
func isPower(n, base, p int64) bool {
	power := base
	for range p {
		if power == n {
			return true
		}
		power = power * base % p
	}
	return false
}
