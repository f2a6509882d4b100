"""`ptft finetune merge`: an adapter folded into its base."""
