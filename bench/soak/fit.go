//go:build linux

package soak

import "slices"

// growth is by how much a gauge has grown over the time of its points: the
// median of the slopes between all pairs of them (Theil and Sen), which single
// peaks do not move, times that time. It is 0 for fewer than two points.
func growth(points [][2]float64) float64 {
	// Pairs grow with the square: of more points every n-th will do.
	const most = 400
	if step := len(points)/most + 1; step > 1 {
		var some [][2]float64
		for i := 0; i < len(points); i += step {
			some = append(some, points[i])
		}
		points = some
	}
	var slopes []float64
	for i, p := range points {
		for _, q := range points[i+1:] {
			if q[0] > p[0] {
				slopes = append(slopes, (q[1]-p[1])/(q[0]-p[0]))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2] * (points[len(points)-1][0] - points[0][0])
}
