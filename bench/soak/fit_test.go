//go:build linux

package soak

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A leak shows through noise and single peaks; noise and peaks alone are none.
func TestGrowth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, leak := range []float64{0, 10, -4} {
		var points [][2]float64
		for i := range 1000 {
			v := 80 + leak*float64(i)/999 + rng.Float64()
			if i%50 == 7 || i == 999 {
				v += 40
			}
			points = append(points, [2]float64{float64(10 * i), v})
		}
		if g := growth(points); math.Abs(g-leak) > 0.3 {
			t.Errorf("a leak of %v is seen as %v", leak, g)
		}
	}
	if g := growth(nil) + growth([][2]float64{{1, 5}}) + growth([][2]float64{{1, 5}, {1, 9}}); g != 0 {
		t.Errorf("no line: %v", g)
	}
}
