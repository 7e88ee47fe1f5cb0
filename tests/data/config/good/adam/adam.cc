int adam() {
  return 0;
}
