package dialect

import "strings"

type harmonizelyEventType struct {
	Name                        any    `json:"name"`
	Location                    any    `json:"location"`
	LocationLabel               any    `json:"location_label"`
	Description                 any    `json:"description"`
	Duration                    any    `json:"duration"`
	Slug                        any    `json:"slug"`
	IsSecret                    bool   `json:"is_secret"`
	ConfirmationPageType        any    `json:"confirmation_page_type"`
	ConfirmationPageURL         any    `json:"confirmation_page_url"`
	NotificationType            any    `json:"notification_type"`
	PassDetailsToRedirectedPage bool   `json:"pass_details_to_redirected_page"`
	Type                        string `json:"type"`
	Position                    any    `json:"position"`
}

func harmonizelyEventTypeOf(e value) any {
	if !e.isObject() {
		return nil
	}
	kind := "regular" // every kind but a group
	if e.at("kind").string() == "group" {
		kind = "group"
	}
	return harmonizelyEventType{
		Name: e.at("name").text(), Location: e.at("location").text(), LocationLabel: e.at("location_label").text(),
		Description: e.at("description").text(), Duration: e.at("duration_minutes").number(), Slug: e.at("slug").text(),
		IsSecret: e.at("is_secret").isTrue(), ConfirmationPageType: e.at("confirmation_page_type").text(),
		ConfirmationPageURL: e.at("confirmation_page_url").text(), NotificationType: e.at("notification_type").text(),
		PassDetailsToRedirectedPage: e.at("pass_details_to_redirected_page").isTrue(), Type: kind,
		Position: e.at("position").number(),
	}
}

type harmonizelyInvitee struct {
	FirstName   any `json:"first_name"`
	Email       any `json:"email"`
	FullName    any `json:"full_name"`
	Timezone    any `json:"timezone"`
	PhoneNumber any `json:"phone_number"`
	Locale      any `json:"locale"`
}

func harmonizelyInviteeOf(a value) harmonizelyInvitee {
	return harmonizelyInvitee{
		FirstName: a.at("first_name").text(), Email: a.at("email").text(), FullName: a.at("full_name").text(),
		Timezone: a.at("time_zone").text(), PhoneNumber: a.at("phone_number").text(), Locale: a.at("locale").text(),
	}
}

type harmonizelyAnswer struct {
	QuestionLabel any `json:"question_label"`
	Value         any `json:"value"`
	QuestionType  any `json:"question_type"`
}

func harmonizelyAnswerOf(a value) harmonizelyAnswer {
	answer := a.at("value").any
	// The page has 1 for a box that is checked.
	switch answer {
	case true:
		answer = 1
	case false:
		answer = 0
	}
	return harmonizelyAnswer{
		QuestionLabel: a.at("question_label").text(), Value: answer, QuestionType: a.at("question_type").text(),
	}
}

// noteText puts the notes into one text, a line each; nil when there are none.
func noteText(notes value) any {
	texts := notes.texts("text")
	if len(texts) == 0 {
		return nil
	}
	return strings.Join(texts, "\n")
}

type harmonizelyPerson struct {
	Type     any `json:"type"`
	UUID     any `json:"uuid"`
	FullName any `json:"full_name"`
	Email    any `json:"email"`
}

func harmonizelyPersonOf(actor value) any {
	if !actor.isObject() {
		return nil
	}
	return harmonizelyPerson{
		Type: actor.at("type").text(), UUID: actor.at("id").text(), FullName: actor.at("full_name").text(),
		Email: actor.at("email").text(),
	}
}

type harmonizelyCancellation struct {
	CanceledAt any `json:"canceled_at"`
	Reason     any `json:"reason"`
	CanceledBy any `json:"canceled_by"`
}

func harmonizelyCancellationOf(c value) any {
	if !c.isObject() {
		return nil
	}
	return harmonizelyCancellation{
		CanceledAt: c.at("cancel_time").time(numericOffset), Reason: c.at("reason").text(),
		CanceledBy: harmonizelyPersonOf(c.at("canceled_by")),
	}
}

type harmonizelyRescheduling struct {
	RescheduledAt       any `json:"rescheduled_at"`
	Reason              any `json:"reason"`
	RescheduledBy       any `json:"rescheduled_by"`
	PreviousScheduledAt any `json:"previous_scheduled_at"`
	PreviousEndDate     any `json:"previous_end_date"`
	PreviousUUID        any `json:"previous_uuid"`
	NewUUID             any `json:"new_uuid"`
}

func harmonizelyReschedulingOf(r value) any {
	if !r.isObject() {
		return nil
	}
	return harmonizelyRescheduling{
		RescheduledAt: r.at("reschedule_time").time(numericOffset), Reason: r.at("reason").text(),
		RescheduledBy:       harmonizelyPersonOf(r.at("rescheduled_by")),
		PreviousScheduledAt: r.at("previous_start_time").time(numericOffset),
		PreviousEndDate:     r.at("previous_end_time").time(numericOffset),
		PreviousUUID:        r.at("previous_meeting_id").text(), NewUUID: r.at("new_meeting_id").text(),
	}
}

type harmonizelyPayment struct {
	UUID             any `json:"uuid"`
	ApplicationID    any `json:"application_id"`
	OrderID          any `json:"order_id"`
	ExternalID       any `json:"external_id"`
	Amount           any `json:"amount"`
	Currency         any `json:"currency"`
	Method           any `json:"method"`
	Status           any `json:"status"`
	BillingName      any `json:"billing_name"`
	BillingAddress   any `json:"billing_address"`
	Email            any `json:"email"`
	Note             any `json:"note"`
	AmountByDuration any `json:"amount_by_duration"`
	PaidAt           any `json:"paid_at"`
	MeetingCreatedAt any `json:"meeting_created_at"`
	CreatedAt        any `json:"created_at"`
	UpdatedAt        any `json:"updated_at"`
}

func harmonizelyPaymentOf(p value) any {
	if !p.isObject() {
		return nil
	}
	return harmonizelyPayment{
		UUID: p.at("id").text(), ApplicationID: p.at("application_id").text(), OrderID: p.at("order_id").text(),
		ExternalID: p.at("external_id").text(), Amount: p.at("amount").number(), Currency: p.at("currency").text(),
		Method: p.at("method").text(), Status: p.at("status").text(), BillingName: p.at("billing_name").text(),
		BillingAddress: harmonizelyAddressOf(p.at("billing_address")), Email: p.at("email").text(),
		Note: p.at("note").text(), AmountByDuration: p.at("amount_by_duration").amounts(),
		PaidAt:           p.at("payment_time").time(numericOffset),
		MeetingCreatedAt: p.at("meeting_create_time").time(numericOffset),
		CreatedAt:        p.at("create_time").time(numericOffset), UpdatedAt: p.at("update_time").time(numericOffset),
	}
}

type harmonizelyAddress struct {
	Line1      any `json:"line1"`
	Line2      any `json:"line2"`
	City       any `json:"city"`
	Region     any `json:"region"`
	PostalCode any `json:"postal_code"`
	Country    any `json:"country"`
}

func harmonizelyAddressOf(a value) any {
	if !a.isObject() {
		return nil
	}
	return harmonizelyAddress{
		Line1: a.at("line1").text(), Line2: a.at("line2").text(), City: a.at("city").text(),
		Region: a.at("region").text(), PostalCode: a.at("postal_code").text(), Country: a.at("country").text(),
	}
}
