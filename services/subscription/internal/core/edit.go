package core

// Edit makes the new value of something that has parts out of the current one. fallback is its default.
type Edit[T any] func(current, fallback T) T

// UseDefault takes a value of a webhook's own away.
func UseDefault[T any]() Edit[T] {
	return func(_, fallback T) T { return fallback }
}

// Replace gives a new value, whatever the current one is.
func Replace[T any](value T) Edit[T] {
	return func(T, T) T { return value }
}

// EditParts changes parts of a value.
func EditParts[T any](edit func(*T)) Edit[T] {
	return func(current, _ T) T {
		edit(&current)
		return current
	}
}

// InOrder makes one edit of several; nil of none.
func InOrder[T any](edits ...Edit[T]) Edit[T] {
	if len(edits) == 0 {
		return nil
	}
	return func(current, fallback T) T {
		for _, edit := range edits {
			current = edit(current, fallback)
		}
		return current
	}
}
