// Package dialect owns the forms in which webhooks are sent: for each family of receivers the method, the headers,
// the signature and the body of a request, what it calls the triggers, and the policies that a new webhook begins
// with. The one who sends, who shows a preview and who documents a sample all render here, so that what is shown is
// what is sent.
//
// It must know of wire formats only: nothing of storage, of the network or of an organization's configuration, and it
// has no clock of its own.
//
// Standard and CloudEvents bodies carry what was published byte for byte. So do the data within the bodies of ACE,
// Avoma and Axcelerate. Orufy and Harmonizely bodies are made from the meeting document of the built-in meeting.*
// triggers. What such a document lacks, or has in another type than the schema allows, is null, empty or false there;
// an event of any other trigger, or without an object as its data, is sent in their envelope with the data as it was
// published and the trigger's own name.
//
// A new dialect is a file with a type that implements Dialect, its line in the list of all, the way it signs and is
// read in webhook.BodySchemeOf, and golden files written by `go test -update`; one with fields of its own for meetings
// describes them in schemas/<name>.defs.json. The tests say which of their tables lack it; CONTRIBUTING.md goes through
// it all. Everything else, the interfaces for people included, finds it by that list.
package dialect
