-- What makes a credential one of a vendor's subscription: the product, the plan, the stated discount, and the caps by window.

ALTER TABLE credentials ADD COLUMN subscription TEXT;
