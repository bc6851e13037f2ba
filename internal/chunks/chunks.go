// Package chunks has a list that grows without moving its values. Unlike a slice, which grows
// by a quarter and is copied then, it has at most one chunk to spare.
package chunks

const (
	bits = 10
	size = 1 << bits // values allocated at once
	mask = size - 1
)

// List is a list of values, empty at first.
type List[T any] struct {
	chunks []*[size]T
	length int
}

// Len returns the number of values.
func (l *List[T]) Len() int { return l.length }

// At returns the value of an index, which must be below Len. The pointer stays valid.
func (l *List[T]) At(i uint32) *T { return &l.chunks[i>>bits][i&mask] }

// Extend makes the list n values long, if it is shorter. New values are zero.
func (l *List[T]) Extend(n int) {
	for len(l.chunks)*size < n {
		l.chunks = append(l.chunks, new([size]T))
	}
	l.length = max(l.length, n)
}
