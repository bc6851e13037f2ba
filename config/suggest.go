package config

// suggest ends an error line with the setting that was probably meant.
func suggest(name, prefix string) string {
	if best := nearest(name); best != "" {
		return ", did you mean \"" + prefix + best + "\"?"
	}
	return ""
}

// nearest is the setting whose name differs least from name; "" if all differ
// too much.
func nearest(name string) string {
	best, score := "", len(name)/3+1
	for i := range fields {
		if d := distance(name, fields[i].name); d <= score {
			best, score = fields[i].name, d-1
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
